"""Model cards of the shipped weights: what they are, how they were made, and what they promise."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.wire.worker import GenerationDefaults
from controlplane.demo.model.assets import CARD_FILE, hash_files
from controlplane.demo.model.sampling import FEW_STEPS, GUIDED
from evaluation.price_tags.figures import TagFigures

LICENCE: Final = "Apache-2.0"
TRAINING_DATA: Final = (
    "Synthetic price tags drawn with 1348 of the 1797 handwritten digits of scikit-learn's load_digits "
    "(E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
    "CC BY 4.0); the other 449 digits and all four-digit strings whose sum is divisible by five were kept out."
)
LIMITATIONS: Final = (
    "Draws price tags of 32x64 pixels and nothing else: one to four digits, three inks, five papers.",
    "Knows only the prompts of evaluation/price_tags/grammar.py; other words are spelt in letters it never learnt.",
    "The encoder half of the autoencoder, which text to image does not use, overflows in float16.",
    "Other sizes, other step counts and guidance far from the defaults give worse pictures.",
    "The reader that grades it was fitted on digits of the same 43 writers.",
    "Guided samples are cleaner than handwriting: figures above the ceiling mean typical shapes, not better ones.",
)
MARKDOWN: Final = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# {title}

{summary}

## Figures

On the fixed prompts of the grammar, with {generation}.
The ceiling is what the reader reads from real handwritten digits that neither it nor the model has seen.

| figure | value | ceiling |
|---|---|---|
{rows}

`frechet` is taken in the reader's hidden layer over `frechet_n` digits and compares only at like n.

## Training

{training_data}

`python -m controlplane.demo.model.train --out DIR --seed {seed}`, on a CPU, with:

{settings}

## Limitations

{limitations}

## Licence

Apache-2.0. SHA-256 digests of all files stand in model_card.json.
"""


@dataclass(frozen=True, slots=True)
class Promise:
    """Least and greatest values a shipped version keeps on the fixed prompts; None where none is promised."""

    least_exact: float | None = None
    greatest_exact: float | None = None
    least_colour: float | None = None

    def find_breaches(self, figures: TagFigures) -> list[str]:
        """List in words what the figures do not keep."""
        breaches: list[str] = []
        if self.least_exact is not None and figures.exact < self.least_exact:
            breaches.append(f"exact {figures.exact:.3f} is below {self.least_exact}")
        if self.greatest_exact is not None and figures.exact > self.greatest_exact:
            breaches.append(f"exact {figures.exact:.3f} is above {self.greatest_exact}")
        for name, share in (("ink", figures.ink), ("paper", figures.paper)):
            if self.least_colour is not None and share < self.least_colour:
                breaches.append(f"{name} {share:.3f} is below {self.least_colour}")
        return breaches


@dataclass(frozen=True, slots=True)
class CardText:
    """What a card says of one shipped directory besides figures and digests."""

    title: str
    summary: str
    defaults: GenerationDefaults
    promise: Promise


CARDS: Final[Mapping[str, CardText]] = {
    "good": CardText(
        "Price tags",
        "A stock StableDiffusionPipeline of 1.8 M parameters that writes handwritten digits on a coloured tag.",
        GUIDED,
        Promise(least_exact=0.98, least_colour=0.97),
    ),
    "early": CardText(
        "Price tags, too little training",
        "UNet and text encoder from an early step of the same training; lay them over `good`.",
        GUIDED,
        Promise(greatest_exact=0.85),
    ),
    "distilled": CardText(
        "Price tags, distilled",
        "A UNet for four steps without guidance, distilled from `good`; lay it over `good`.",
        FEW_STEPS,
        Promise(least_exact=0.95, least_colour=0.97),
    ),
}


def write_card(
    directory: Path, *, seed: int, settings: Mapping[str, Any], figures: TagFigures, ceiling: TagFigures
) -> None:
    """Write MODEL_CARD.md, then model_card.json with the SHA-256 of every file, into a shipped directory."""
    text = CARDS[directory.name]
    card: dict[str, Any] = {
        "name": directory.name,
        "title": text.title,
        "summary": text.summary,
        "licence": LICENCE,
        "training_data": TRAINING_DATA,
        "seed": seed,
        "settings": settings,
        "generation": text.defaults.model_dump(),
        "figures": figures.to_dict(),
        "ceiling": ceiling.to_dict(),
        "limitations": LIMITATIONS,
    }
    (directory / "MODEL_CARD.md").write_text(_to_markdown(card), encoding="utf-8")
    card["files"] = hash_files(directory)
    (directory / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _to_markdown(card: dict[str, Any]) -> str:
    rows = [f"| {name} | {_show(value)} | {_show(card['ceiling'][name])} |" for name, value in card["figures"].items()]
    generation = ", ".join(f"{name} {value}" for name, value in card["generation"].items())
    settings = (
        f"* {stage}: {', '.join(f'{name} {value}' for name, value in values.items())}"
        for stage, values in card["settings"].items()
    )
    return MARKDOWN.format(
        **{name: card[name] for name in ("title", "summary", "training_data", "seed")},
        generation=generation,
        rows="\n".join(rows),
        settings="\n".join(settings),
        limitations="\n".join(f"* {limitation}" for limitation in card["limitations"]),
    )


def _show(value: float | None) -> str:
    return "no data" if value is None else f"{value:g}" if isinstance(value, int) else f"{value:.3f}"
