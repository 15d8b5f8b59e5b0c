"""Where a version was measured: device, driver, processor and the libraries that did the work."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from contracts.model import Frozen

LIBRARIES: Final = (
    "torch", "diffusers", "transformers", "accelerate", "safetensors", "tokenizers", "onnxruntime", "openvino",
    "torchao", "optimum-quanto", "numpy", "scikit-learn", "skops", "mlflow", "roost",
)  # fmt: skip


class Environment(Frozen):
    """The machine and the libraries of a profile; what is not known is empty.

    ``device`` is what was asked for (``cpu``, ``cuda:0``), ``device_name`` what it is; ``threads`` those of one worker.
    """

    device: str
    device_name: str
    driver: str = ""
    device_memory_bytes: int | None = None
    processor: str
    cores: int
    threads: int
    memory_bytes: int
    system: str
    python: str
    libraries: dict[str, str]

    def describe(self) -> str:
        """Return the device and its machine in one line."""
        cpu = f"{self.processor}, {self.cores} cores"
        return cpu if self.device == "cpu" else f"{self.device_name} on {cpu}"


def read_environment(
    device: str, *, threads: int, device_name: str = "", driver: str = "", device_memory_bytes: int | None = None
) -> Environment:
    """Return this machine's environment; what an accelerator is, is told by who has found it."""
    processor = _processor()
    return Environment(
        device=device,
        device_name=device_name or processor,
        driver=driver,
        device_memory_bytes=device_memory_bytes,
        processor=processor,
        cores=len(os.sched_getaffinity(0)),
        threads=threads,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(),
        python=platform.python_version(),
        libraries={name: found for name in LIBRARIES if (found := _version(name))},
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
