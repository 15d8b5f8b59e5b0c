"""A prompt set: prompts with fixed seeds, in one order, with one digest."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.errors import InvalidInput
from contracts.ids import parse_name
from evaluation.prompts.strata import classify_length, detect_language

FORMAT = 1
SEED_BYTES = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to a version. ``seed`` fixes its latents, so that two versions asked the same make a pair.

    ``mentions`` are words of interest that the text holds. ``height`` and ``width`` in pixels are the version's own
    when they are None.
    """

    id: str
    text: str
    seed: int
    lane: str = "default"
    language: str = "und"
    mentions: tuple[str, ...] = ()
    height: int | None = None
    width: int | None = None

    @property
    def strata(self) -> tuple[str, ...]:
        """The classes that it belongs to: ``lane=…``, ``length=…``, ``language=…`` and one ``mentions=…`` a word."""
        mentioned = tuple(f"mentions={word}" for word in self.mentions)
        return (f"lane={self.lane}", f"length={classify_length(self.text)}", f"language={self.language}", *mentioned)

    def to_row(self) -> dict[str, Any]:
        """Return the prompt as a row of the canonical file; what is not set is left out."""
        row: dict[str, Any] = {"id": self.id, "prompt": self.text, "seed": self.seed, "lane": self.lane}
        row |= {"language": self.language, "mentions": list(self.mentions)}
        row |= {"height": self.height, "width": self.width}
        return {key: value for key, value in row.items() if value not in (None, [])}


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts under a name and a version; ``scorers`` are those that judge their pictures when nobody names others."""

    name: str
    version: int
    prompts: tuple[Prompt, ...]
    scorers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_name(self.name, "prompt set")
        if self.version < 1:
            raise InvalidInput(f"prompt set {self.name}: version {self.version} is less than 1")
        if not self.prompts:
            raise InvalidInput(
                f"prompt set {self.name} is empty", hint="give at least one prompt; a comparison needs some hundreds"
            )
        twice = [name for name, count in Counter(prompt.id for prompt in self.prompts).items() if count > 1]
        if twice:
            raise InvalidInput(f"prompt set {self.name}: the id {twice[0]!r} stands twice", hint="ids tell pairs apart")

    @property
    def digest(self) -> str:
        """SHA-256 over the prompts with seeds and strata, whatever their order; name and version have no part in it."""
        rows = sorted(write_row(prompt.to_row()) for prompt in self.prompts)
        return "sha256:" + hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def shuffled(self) -> tuple[Prompt, ...]:
        """Return the prompts in an order that depends on their ids alone.

        A comparison that stops early must not have seen one kind of prompt first, as files often have them.
        """
        return tuple(sorted(self.prompts, key=lambda prompt: hashlib.sha256(prompt.id.encode()).digest()))

    def strata(self) -> dict[str, int]:
        """Return how many prompts each stratum holds, by name."""
        counts = Counter(stratum for prompt in self.prompts for stratum in prompt.strata)
        return dict(sorted(counts.items()))

    def to_jsonl(self) -> str:
        """Return the canonical file: a head with name, version and digest, then one line per prompt."""
        head = {"prompt_set": self.name, "version": self.version, "format": FORMAT, "digest": self.digest}
        rows = [head | ({"scorers": list(self.scorers)} if self.scorers else {})]
        return "".join(write_row(row) + "\n" for row in [*rows, *(prompt.to_row() for prompt in self.prompts)])


def write_row(row: dict[str, Any]) -> str:
    """Return canonical JSON: sorted keys, no white space, text as it is."""
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def derive_seed(prompt_id: str) -> int:
    """Return the seed of a prompt that names none: the same for the same id, on every machine."""
    return int.from_bytes(hashlib.sha256(f"seed:{prompt_id}".encode()).digest()[:SEED_BYTES], "big")


def make_prompt(
    text: str,
    *,
    prompt_id: str = "",
    seed: int | None = None,
    lane: str = "default",
    language: str = "",
    mentions: Sequence[str] = (),
    occurrence: int = 0,
    height: int | None = None,
    width: int | None = None,
) -> Prompt:
    """Return a prompt with what was left out filled in: id from text, lane and ``occurrence``, seed from id, language.

    Raises:
        InvalidInput: when the text is blank.
    """
    if not text.strip():
        raise InvalidInput("prompt: it is blank", hint="write what the picture has to show")
    known = f"{lane}\n{text}\n{seed}\n{height}\n{width}\n{occurrence}"
    name = prompt_id or "p-" + hashlib.sha256(known.encode()).hexdigest()[:16]
    spoken = language or detect_language(text)
    chosen = derive_seed(name) if seed is None else seed
    return Prompt(name, text, chosen, lane, spoken, tuple(sorted(set(mentions))), height, width)
