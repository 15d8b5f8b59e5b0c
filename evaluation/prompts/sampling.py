"""Prompt sets from live traffic: sampled over strata, redacted before anything is kept."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.errors import InvalidInput
from contracts.redaction import redact
from contracts.wire.telemetry import SampledOutput
from evaluation.prompts.prompt_set import Prompt, PromptSet, make_prompt
from evaluation.prompts.strata import classify_length, find_mentions


@dataclass(frozen=True, slots=True)
class SampledPrompts:
    """A prompt set made of traffic: out of how many different prompts, and what was taken out of them."""

    prompts: PromptSet
    seen: int
    removed: dict[str, int]


def sample_live(
    outputs: Iterable[SampledOutput], n: int, *, name: str, version: int = 1, mentions: Sequence[str] = ()
) -> SampledPrompts:
    """Choose up to ``n`` different prompts that users sent, each with the seed of its picture.

    Every stratum (lane and length) gets its share of ``n``, and at least one prompt while there is room. Which are
    chosen depends on the prompts alone, so the same traffic gives the same set. Mirrored copies are left out: they
    are no wish of a user.

    Raises:
        InvalidInput: when there is no live output, or ``n`` is less than one.
    """
    if n < 1:
        raise InvalidInput(f"n: {n} prompts can't be sampled", hint="ask for some hundreds")
    removed: dict[str, int] = {}
    found: dict[tuple[str, str], Prompt] = {}
    for output in outputs:
        if output.mirrored or not output.prompt.strip():
            continue
        clean = redact(output.prompt)
        key = (output.lane, clean.text)
        if key not in found:
            found[key] = make_prompt(
                clean.text, seed=output.seed, lane=output.lane, mentions=find_mentions(clean.text, mentions)
            )
            for kind, count in clean.removed.items():
                removed[kind] = removed.get(kind, 0) + count
    if not found:
        raise InvalidInput("no live output to sample prompts from", hint="mirrored copies don't count")
    return SampledPrompts(PromptSet(name, version, _choose(list(found.values()), n)), len(found), removed)


def _choose(prompts: Sequence[Prompt], n: int) -> tuple[Prompt, ...]:
    """Choose by largest remainder over the strata, within a stratum by the hash of the id."""
    strata: dict[tuple[str, str], list[Prompt]] = defaultdict(list)
    for prompt in sorted(prompts, key=lambda p: hashlib.sha256(p.id.encode()).digest()):
        strata[prompt.lane, classify_length(prompt.text)].append(prompt)
    n = min(n, len(prompts))
    exact = {key: n * len(group) / len(prompts) for key, group in strata.items()}
    room = {key: int(share) or (1 if len(strata) <= n else 0) for key, share in exact.items()}
    by_remainder = sorted(strata, key=lambda key: (int(exact[key]) - exact[key], key))
    while sum(room.values()) < n:
        for key in by_remainder:
            if sum(room.values()) < n and room[key] < len(strata[key]):
                room[key] += 1
    while sum(room.values()) > n:
        room[max(room, key=lambda key: (room[key], key))] -= 1
    return tuple(prompt for key in sorted(strata) for prompt in strata[key][: room[key]])
