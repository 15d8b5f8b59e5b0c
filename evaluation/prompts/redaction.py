"""Redaction of prompt sets."""

from collections import Counter
from dataclasses import replace

from contracts.redaction import redact
from evaluation.prompts.prompt_set import PromptSet


def redact_set(prompts: PromptSet) -> tuple[PromptSet, dict[str, int]]:
    """Return a prompt set with every text redacted, and how many pieces of each kind were taken out.

    Ids and seeds stay: what was compared before can be compared again.
    """
    found = [redact(prompt.text) for prompt in prompts.prompts]
    removed = Counter[str]()
    for one in found:
        removed.update(one.removed)
    clean = tuple(replace(prompt, text=one.text) for prompt, one in zip(prompts.prompts, found, strict=True))
    return replace(prompts, prompts=clean), dict(removed)
