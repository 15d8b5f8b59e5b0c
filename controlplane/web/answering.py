"""Answers of the pages: a page for a person, an error with its remedy."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from controlplane.statuses import status_of
from controlplane.web.counter import Counter
from controlplane.web.gate import person_of
from controlplane.web.pages import Page
from controlplane.web.rendering import render
from controlplane.web.sources.home import Home


def page_asked(request: Request) -> str:
    """Return the address of the page that is asked for, with its query."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


@dataclass(frozen=True)
class Answering:
    """Makes answers for the people who look at one home; without a ``counter`` nobody can ask for anything."""

    home: Home
    counter: Counter | None

    def page(self, page: Page, request: Request, status: int = 200) -> Response:
        """Return a page."""
        told = {
            "page": page,
            "address": page_asked(request),
            "person": person_of(request),
            "acts": self.counter is not None,
            "drawn": True,
        }
        context = {"home": self.home.name, **page.context, **told}
        answer = HTMLResponse(render(f"{page.name}.html", context), status_code=status)
        if self.counter is not None:
            answer.headers["cache-control"] = "no-store"  # it may tell what this person alone may do
        return answer

    def plain(
        self, name: str, title: str, context: Mapping[str, object], request: Request, status: int = 200
    ) -> Response:
        """Return a page that is not kept live."""
        page = Page(name, title, dict(context), self.home.feed.chronicle.sequence, is_live=False)
        return self.page(page, request, status)

    def error(self, request: Request, error: Exception) -> Response:
        """Return an error as a page."""
        status = status_of(error)
        return self.plain("error", "Error", {"error": error, "status": status}, request, status)
