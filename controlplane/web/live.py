"""The stream of one page: what changed in it since the browser last looked, with the ledger's number as the id."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from controlplane.web.pages import Page
from controlplane.web.rendering import render
from controlplane.web.sources.home import Home

BEAT_S = 2.0
KEPT_LOOKS = 64

Builder = Callable[[], Awaitable[Page]]
Key = tuple[str, int, int]
"""The address, how often the ledger was seen to grow, and which beat it is."""


@dataclass(frozen=True)
class Look:
    """A page at one moment, which ``key`` names, and its regions as streams send them; ``tag`` names what they say."""

    key: Key
    page: Page
    regions: Mapping[str, str]
    tag: str


@dataclass
class LiveDesk:
    """Streams for all open pages; pages that show the same are rendered once."""

    home: Home
    _looks: dict[str, Look] = field(default_factory=dict)

    async def stream(self, address: str, build: Builder, *, after: int, seen: str) -> AsyncIterator[str]:
        """Yield events for a page whose browser has decisions up to ``after``, and the regions with the tag ``seen``.

        Every region is sent when that tag is none of ours, or too old.
        """
        known = self._looks.get(seen)
        sent = known.regions if known is not None else {}
        look = await self.look(address, build)
        yield "retry: 1000\n\n"
        while not self.home.feed.closed:
            page = look.page
            changed = {name: html for name, html in look.regions.items() if sent.get(name) != html}
            points = page.series(after) if page.series is not None and page.sequence > after else {}
            data: dict[str, object] = {"origin": self.home.feed.chronicle.origin, **page.state}
            if changed or page.sequence != after:
                yield _event("change", {**data, "regions": changed, "series": points}, page.sequence)
                sent, after = look.regions, page.sequence
            else:
                yield _event("beat", data, None)
            await self.home.feed.wait(BEAT_S)
            look = await self.look(address, build)

    async def look(self, address: str, build: Builder, *, anew: bool = False) -> Look:
        """Return what a page says now; a page that is being loaded is built ``anew``, and its stream goes on there."""
        # The key is of before: what changes while the page is built is looked for again.
        key = (address, self.home.feed.version, int(self.home.now_s() / BEAT_S))
        looked = next((look for look in reversed(self._looks.values()) if look.key == key), None)
        if looked is not None and not anew:
            return looked
        page = await build()
        # Charts stand on the page already, and are added to; only a page that is loaded brings drawings.
        told = {**page.context, "drawn": False}
        regions = {name: render(f"regions/{name}.html", told) for name in page.regions}
        tag = hashlib.sha256(json.dumps([address, regions]).encode()).hexdigest()[:16]
        look = Look(key, page, regions, tag)
        if regions:
            self._looks.pop(tag, None)
            while len(self._looks) >= KEPT_LOOKS:
                self._looks.pop(next(iter(self._looks)))
            self._looks[tag] = look
        return look


def _event(kind: str, data: dict[str, object], sequence: int | None) -> str:
    number = f"id: {sequence}\n" if sequence is not None else ""
    return f"event: {kind}\n{number}data: {json.dumps(data, separators=(',', ':'))}\n\n"
