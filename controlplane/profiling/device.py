"""What a device is and how much energy it has used, as its driver tells; a CPU tells nothing."""

from functools import cache
from typing import Any

from contracts.errors import InvalidInput
from registry.profile.environment import Environment, read_environment


def find_environment(device: str, *, threads: int) -> Environment:
    """Return the environment of a device of this machine.

    Raises:
        InvalidInput: when there is no such device.
    """
    if device == "cpu":
        return read_environment(device, threads=threads)
    import torch

    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise InvalidInput(f"device: {device!r} is none", hint="write cpu, cuda or cuda:0")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        raise InvalidInput(
            f"device: {device} is not on this machine, which has {count} CUDA devices", hint="measure with --device cpu"
        )
    found = torch.cuda.get_device_properties(int(number or 0))
    return read_environment(
        device,
        threads=threads,
        device_name=str(found.name),
        driver=_driver(),
        device_memory_bytes=int(found.total_memory),
    )


def read_energy_j(device: str) -> float | None:
    """Return the energy that a device has used since its driver was loaded, in joules; None where nothing tells."""
    if device == "cpu":
        return None
    nvml = _nvml()
    if nvml is None:
        return None
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except nvml.NVMLError:
        return None


def _driver() -> str:
    nvml = _nvml()
    return "" if nvml is None else str(nvml.nvmlSystemGetDriverVersion())


@cache
def _nvml() -> Any:
    """Return NVIDIA's library when it is installed and a driver answers, else None."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
