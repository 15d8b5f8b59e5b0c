"""Prompt policies: allow, deny or review, by the service's own rules and by installed policies within 100 ms."""

import asyncio
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from contracts.specs.service import PolicyVerdict, PromptIntake

BUDGET_S = 0.1
ENTRY_POINTS = "roost.prompt_policies"
UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Control characters, and the invisible ones that turn or hide text; joiners of emoji and scripts stay."""
WORD = re.compile(r"[^\W_]+")
SEVERITY = {PolicyVerdict.ALLOW: 0, PolicyVerdict.REVIEW: 1, PolicyVerdict.DENY: 2}


@dataclass(frozen=True, slots=True)
class Ruling:
    """A policy's verdict on a prompt, and the reason that the client or the reviewer is told."""

    verdict: PolicyVerdict
    reason: str = ""


ALLOWED = Ruling(PolicyVerdict.ALLOW)


class PromptPolicy(Protocol):
    """An installed policy; called in a thread, for one prompt, with 100 ms to answer."""

    def judge(self, service: str, prompt: str) -> Ruling:
        """Return the verdict on a prompt to a service."""
        ...


def normalise(prompt: str) -> str:
    """Return a prompt in Unicode's composed form (NFC), without control and invisible characters."""
    if prompt.isascii() and prompt.isprintable():
        return prompt
    return UNWANTED.sub("", unicodedata.normalize("NFC", prompt))


class Rules:
    """A service's rules, in a form that is quick to match: whole words and phrases, whatever their case."""

    def __init__(self, intake: PromptIntake) -> None:
        self._rules = [
            (_words(mention.casefold()), Ruling(rule.verdict, rule.reason))
            for rule in intake.rules
            for mention in rule.mentions
        ]
        self._first_words = {mention.strip().partition(" ")[0] for mention, _ in self._rules}

    def judge(self, prompt: str) -> Ruling:
        """Return the strictest ruling of the rules that match."""
        folded = prompt.casefold()
        for word in self._first_words:
            if word in folded:
                break
        else:
            return ALLOWED  # as nearly always: not even a mention's first word is in it
        text = _words(folded)
        matching = [ruling for mention, ruling in self._rules if mention in text]
        return strictest(matching) if matching else ALLOWED


class PolicyDesk:
    """Asks rules and policies; counts through ``note_failure`` the policies that fail or are late."""

    def __init__(self, note_failure: Callable[[str], None]) -> None:
        self._note_failure = note_failure
        self._policies: dict[str, PromptPolicy | None] = {}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="policy")

    async def judge(self, service: str, intake: PromptIntake, prompt: str) -> Ruling:
        """Return the strictest ruling of a service's installed policies."""
        asked = [self._ask(name, service, prompt, intake.on_failure) for name in intake.policies]
        return strictest(await asyncio.gather(*asked))

    async def _ask(self, name: str, service: str, prompt: str, on_failure: PolicyVerdict) -> Ruling:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(BUDGET_S):
                return await loop.run_in_executor(self._threads, self._judge, name, service, prompt)
        except TimeoutError:
            problem = "was late"
        except Exception as error:  # noqa: BLE001 - whatever a policy raises, the declared verdict holds
            problem = f"failed: {type(error).__name__}"
        self._note_failure(service)
        return Ruling(on_failure, f"policy {name} {problem}")

    def _judge(self, name: str, service: str, prompt: str) -> Ruling:
        if name not in self._policies:
            self._policies[name] = _load(name)
        policy = self._policies[name]
        if policy is None:
            raise LookupError(name)
        return policy.judge(service, prompt)


def _load(name: str) -> PromptPolicy | None:
    found = entry_points(group=ENTRY_POINTS, name=name)
    policy: PromptPolicy | None = next(iter(found)).load()() if found else None
    return policy


def strictest(rulings: list[Ruling]) -> Ruling:
    """Return the ruling that holds of several."""
    return max(rulings, key=lambda ruling: SEVERITY[ruling.verdict])


def _words(folded: str) -> str:
    """Return the words of a casefolded text between single spaces, so that a phrase is found by ``in``."""
    return f" {' '.join(WORD.findall(folded))} "
