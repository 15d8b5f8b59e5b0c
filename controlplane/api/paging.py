"""Lists in pages: at most so many items, and what to ask for the next."""

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

Item = TypeVar("Item")
LIMIT, MOST = 100, 500

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many items at most.")]
Cursor = Annotated[
    int | None, Query(ge=0, le=10**12, description="The `next` of the page before; the first page without it.")
]


class Page(BaseModel, Generic[Item]):
    """One page; ``next`` is what ``cursor`` is to be for the page that follows, null at the end."""

    items: list[Item]
    next: int | str | None


def page_by_offset(found: Sequence[Item], cursor: int | None, limit: int) -> Page[Item]:
    """Return a page of a list whose cursor is a number of items; ``found`` begins after them, one too many if more."""
    begin = cursor or 0
    return Page(items=list(found[:limit]), next=begin + limit if len(found) > limit else None)


def cut(found: Sequence[Item], cursor: int | None, limit: int) -> Page[Item]:
    """Return a page of a list that is there as a whole."""
    return page_by_offset(found[cursor or 0 :], cursor, limit)
