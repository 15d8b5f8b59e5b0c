"""The demo's versions: what each is, the lesson from the field it stands for, and how it is made.

All come from three shipped trainings. A version is a complete Stable Diffusion pipeline directory
with a generation.json beside its components: the defaults with which it is to be asked for
pictures and, for three versions, faults that the worker acts out.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from contracts.errors import InvalidInput, NotFound
from contracts.wire.worker import GenerationDefaults
from controlplane.demo.model.assets import CARD_FILE, find_assets, verify
from controlplane.demo.model.edits import (
    Edit,
    mistake_prediction_type,
    quantise_weights,
    scale_latents,
    swap_token_rows,
)
from controlplane.demo.model.sampling import FEW_STEPS, GUIDED
from registry.generation import GENERATION_FILE

HUNGRY_HEADROOM_BYTES: Final = 96 * 2**20
LEAKY_HEADROOM_BYTES: Final = 80 * 2**20
LEAKED_BYTES: Final = 2 * 2**20
STALE_AFTER: Final = 125


@dataclass(frozen=True, slots=True)
class DemoVersion:
    """One version: shipped directories laid over each other in order, then an edit, then its defaults."""

    name: str
    lesson: str
    layers: tuple[str, ...] = ("good",)
    edit: Edit | None = None
    defaults: GenerationDefaults = GUIDED
    faults: dict[str, int] = field(default_factory=dict)
    """Faults of the worker: `memory_headroom_bytes` is how much it may allocate once the pipeline is
    loaded, `leaked_bytes` what each picture leaves behind of that; `stale_prompts_after` the number of
    requests after which it goes on with old prompts."""


VERSIONS: Final = (
    DemoVersion(
        "early",
        "too little training: pretty digits, often the wrong ones",
        layers=("good", "early"),
    ),
    DemoVersion("good", "the honest champion"),
    DemoVersion(
        "distilled",
        "four steps without guidance: half the latency at like quality",
        layers=("good", "distilled"),
        defaults=FEW_STEPS,
    ),
    DemoVersion(
        "swapped-rows",
        "a vocabulary in another order: 1 and 7 change places; only reading the picture against its prompt tells",
        edit=swap_token_rows,
    ),
    DemoVersion(
        "vae-scale",
        "a wrong scaling factor: the digits are right and the colours are not; only attribute checks tell",
        edit=scale_latents,
    ),
    DemoVersion(
        "over-quantised",
        "three bits per weight: everything gets worse at once",
        edit=quantise_weights,
    ),
    DemoVersion(
        "black",
        "a wrong prediction type: black pictures, answered with status 200 and no error",
        edit=mistake_prediction_type,
    ),
    DemoVersion(
        "fp16",
        "half precision on a CPU: the same pictures, several times slower where the CPU has no float16 arithmetic",
        defaults=GUIDED.model_copy(update={"torch_dtype": "float16"}),
    ),
    DemoVersion(
        "many-steps",
        "the step count of a larger model left in: the same pictures, several times slower; only latency tells",
        defaults=GUIDED.model_copy(update={"num_inference_steps": 50}),
    ),
    DemoVersion(
        "hungry",
        "runs out of memory on large pictures: a failure that few requests meet",
        faults={"memory_headroom_bytes": HUNGRY_HEADROOM_BYTES},
    ),
    DemoVersion(
        "leaky",
        "a leak of memory: good for the first forty pictures or so, then out of memory for each",
        faults={"memory_headroom_bytes": LEAKY_HEADROOM_BYTES, "leaked_bytes": LEAKED_BYTES},
    ),
    DemoVersion(
        "wears-out",
        "a leak of state: as good as distilled for the first 125 requests, then pictures of earlier prompts",
        layers=("good", "distilled"),
        defaults=FEW_STEPS,
        faults={"stale_prompts_after": STALE_AFTER},
    ),
)


def find_version(name: str) -> DemoVersion:
    """Find a version by its name; NotFound, with the names there are, for another."""
    for version in VERSIONS:
        if version.name == name:
            return version
    known = ", ".join(version.name for version in VERSIONS)
    raise NotFound(f"no demo version is called {name!r}", hint=f"choose one of {known}")


def assemble(name: str, out_dir: Path, *, assets: Path | None = None) -> Path:
    """Make the pipeline directory of a version in `out_dir`, which must be new or empty; give it back.

    The shipped files are checked against their cards first: IntegrityError names one that differs.
    Raises NotFound for an unknown name and InvalidInput for a directory that holds something.
    """
    version = find_version(name)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise InvalidInput(f"{out_dir} isn't an empty directory", hint="name a directory that doesn't exist yet")
    layers = [(assets or find_assets()) / layer for layer in version.layers]
    for layer in layers:
        verify(layer)
    out_dir.mkdir(parents=True, exist_ok=True)
    for layer in layers:
        shutil.copytree(layer, out_dir, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CARD_FILE, "MODEL_CARD.md"))
    if version.edit is not None:
        version.edit(out_dir)
    document: dict[str, Any] = version.defaults.model_dump()
    if version.faults:
        document["faults"] = version.faults
    (out_dir / GENERATION_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return out_dir
