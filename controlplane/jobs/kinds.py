"""Kinds of jobs, registered by name in the composition root."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from contracts.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job.

    ``entry`` is ``module:function``, imported in the child process alone and called with a `JobContext` and the job's
    arguments; what it returns, a document, is the job's result. At most ``at_once`` jobs of its ``queue`` run at once,
    over all workers. An attempt that fails is made again, later and later, up to ``max_attempts`` in all.
    """

    name: str
    entry: str
    queue: str = "default"
    at_once: int = 1
    max_attempts: int = 3


class JobKinds:
    """The kinds that there are."""

    def __init__(self, kinds: Iterable[JobKind]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}

    def __iter__(self) -> Iterator[JobKind]:
        return iter(self._kinds.values())

    def get(self, name: str) -> JobKind:
        """Return a kind by its name.

        Raises:
            InvalidInput: when there is none, naming those that there are.
        """
        if name not in self._kinds:
            raise InvalidInput(
                f"kind: there are no jobs of kind {name!r}",
                hint=f"known are {', '.join(sorted(self._kinds)) or 'none'}",
            )
        return self._kinds[name]
