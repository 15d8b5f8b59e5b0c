"""Examples as pictures small enough to travel in the report."""

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.report.source import Example

WORST, BEST = 12, 6
SIDE_PIXELS = 128
MOST_BYTES = 24_000
MOST_PIXELS = 64_000_000


@dataclass(frozen=True, slots=True)
class Shown:
    """One example and what it is an example of."""

    kind: str
    example: Example


def choose_examples(examples: Sequence[Example]) -> list[Shown]:
    """Return the worst and the best outputs, none twice, no prompt more than twice among the worst."""
    ordered = sorted(examples, key=lambda example: (example.value, example.at_s))
    worst: list[Example] = []
    prompts: dict[str, int] = {}
    for example in ordered:
        prompts[example.prompt] = prompts.get(example.prompt, 0) + 1
        if prompts[example.prompt] <= 2 and len(worst) < WORST and example.value < 1.0:
            worst.append(example)
    taken = {id(example) for example in worst}
    best = [example for example in reversed(ordered) if id(example) not in taken][:BEST]
    return [Shown("worst", e) for e in worst] + [Shown("best", e) for e in best]


def thumbnail(image: bytes) -> tuple[str | None, str]:
    """Return a small picture as a data URI, or None and why there is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    return None, f"{picture.width} x {picture.height} pixels are too many to show"
                small = picture.convert("RGB")
                small.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError,
            Image.DecompressionBombWarning) as error:  # fmt: skip
        return None, f"can't be decoded: {type(error).__name__}"
    for form, options in (("PNG", {"optimize": True}), ("JPEG", {"quality": 80}), ("JPEG", {"quality": 40})):
        out = io.BytesIO()
        small.save(out, form, **options)
        if out.tell() <= MOST_BYTES:
            break
    encoded = base64.b64encode(out.getvalue()).decode()
    return f"data:image/{form.lower()};base64,{encoded}", ""
