"""The stream of one page: what changed in it since the browser last looked, with the ledger's number as the id."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from controlplane.web.pages import Page
from controlplane.web.rendering import render
from controlplane.web.sources.home import Home

BEAT_S = 2.0
KEPT_PAGES = 64

Builder = Callable[[], Awaitable[Page]]


@dataclass
class LiveDesk:
    """Streams for all open pages; pages that show the same are rendered once."""

    home: Home
    _rendered: dict[tuple[str, int, int], tuple[Page, dict[str, str]]] = field(default_factory=dict)

    async def stream(self, address: str, build: Builder, *, after: int, fresh: bool) -> AsyncIterator[str]:
        """Yield events for a page whose browser has seen decisions up to ``after``; ``fresh``: it was just loaded."""
        sent: dict[str, str] = {}
        page, regions = await self._look(address, build)
        if fresh and page.sequence == after:
            sent = regions
        yield "retry: 1000\n\n"
        while not self.home.feed.closed:
            changed = {name: html for name, html in regions.items() if sent.get(name) != html}
            points = page.series(after) if page.series is not None and page.sequence > after else {}
            data: dict[str, object] = {"origin": self.home.feed.chronicle.origin, **page.state}
            if changed or page.sequence != after:
                yield _event("change", {**data, "regions": changed, "series": points}, page.sequence)
                sent, after = regions, page.sequence
            else:
                yield _event("beat", data, None)
            await self.home.feed.wait(BEAT_S)
            page, regions = await self._look(address, build)

    async def _look(self, address: str, build: Builder) -> tuple[Page, dict[str, str]]:
        key = (address, self.home.feed.version, int(self.home.now_s() / BEAT_S))
        if key not in self._rendered:
            page = await build()
            # Charts stand on the page already, and are added to; only a page that is loaded brings drawings.
            told = {**page.context, "drawn": False}
            regions = {name: render(f"regions/{name}.html", told) for name in page.regions}
            while len(self._rendered) >= KEPT_PAGES:
                self._rendered.pop(next(iter(self._rendered)))
            self._rendered[key] = (page, regions)
        return self._rendered[key]


def _event(kind: str, data: dict[str, object], sequence: int | None) -> str:
    number = f"id: {sequence}\n" if sequence is not None else ""
    return f"event: {kind}\n{number}data: {json.dumps(data, separators=(',', ':'))}\n\n"
