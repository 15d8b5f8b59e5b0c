"""The scorers that services may name: every installed kind that needs no options, made when it is first asked."""

import logging
from collections.abc import Iterator, Mapping

from contracts.errors import RoostError
from evaluation.scorers.kinds import ScorerChoice, find_kinds, make_guarded
from evaluation.scorers.port import Scorer

LOG = logging.getLogger("roost.server")


class InstalledScorers(Mapping[str, Scorer]):
    """Scorers by name; one that can't be made is missing, and its objectives have no data."""

    def __init__(self) -> None:
        self._kinds = find_kinds()
        self._names = sorted(name for name, kind in self._kinds.by_name.items() if not kind.required)
        self._made: dict[str, Scorer] = {}

    def __getitem__(self, name: str) -> Scorer:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            try:
                self._made[name] = make_guarded(ScorerChoice(name), self._kinds)
            except RoostError as error:
                LOG.warning("scorer %s can't be used: %s", name, error.message)
                raise KeyError(name) from None
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
