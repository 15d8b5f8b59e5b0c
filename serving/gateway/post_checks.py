"""Post-checks: whether a picture that was drawn may be given to a user, before it is."""

import asyncio
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Protocol

BUDGET_S = 1.0
ENTRY_POINTS = "roost.post_checks"
BLANK_LEVELS = 2
"""A picture whose levels, of 256, all lie within so many is blank: black as a rule, from numbers that are none."""


class PostCheck(Protocol):
    """A check of one picture; called in a thread, with a second to answer."""

    def judge(self, service: str, prompt: str, png: bytes) -> str:
        """Return what is wrong with the picture, '' when nothing is."""
        ...


class Blank:
    """Finds pictures in which nothing is drawn, and bytes that are none."""

    def judge(self, service: str, prompt: str, png: bytes) -> str:
        """Return whether the picture can't be read or is blank."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(png)) as picture:
                extrema = picture.convert("RGB").getextrema()
        except OSError:
            return "it can't be read as a picture"
        spread = max(int(high) - int(low) for low, high in extrema)  # type: ignore[misc]
        return "it is blank" if spread <= BLANK_LEVELS else ""


BUILT_IN: dict[str, Callable[[], PostCheck]] = {"blank": Blank}


class PostCheckDesk:
    """Asks the checks of a service; one that fails or is late passes the picture and is told to ``note_failure``."""

    def __init__(self, note_failure: Callable[[str], None]) -> None:
        self._note_failure = note_failure
        self._checks: dict[str, PostCheck] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="post-check")

    async def judge(self, service: str, names: Sequence[str], prompt: str, png: bytes) -> str:
        """Return the first fault that a check finds, '' when none does."""
        for name in names:
            try:
                async with asyncio.timeout(BUDGET_S):
                    loop = asyncio.get_running_loop()
                    fault = await loop.run_in_executor(self._threads, self._judge, name, service, prompt, png)
            except Exception:  # noqa: BLE001 - whatever a check raises, the user gets the picture
                self._note_failure(service)
                continue
            if fault:
                return f"{name}: {fault}"
        return ""

    def _judge(self, name: str, service: str, prompt: str, png: bytes) -> str:
        if name not in self._checks:
            self._checks[name] = _load(name)
        return self._checks[name].judge(service, prompt, png)


def _load(name: str) -> PostCheck:
    if name in BUILT_IN:
        return BUILT_IN[name]()
    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        raise LookupError(name)
    check: PostCheck = next(iter(found)).load()()
    return check
