"""Kinds of jobs, registered by name in the composition root."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from contracts.errors import InvalidInput
from controlplane.jobs.arguments import Arguments
from controlplane.store.documents import canonical


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job.

    ``entry`` is ``module:function``, imported in the child process alone and called with a `JobContext` and the job's
    arguments, which fit ``arguments``; what it returns, a document, is the job's result. At most ``at_once`` jobs of
    its ``queue`` run at once, over all workers. An attempt that fails is made again, later and later, up to
    ``max_attempts`` in all. Its process sees the
    environment, with the credentials in it, only when it ``is_trusted``.
    """

    name: str
    entry: str
    queue: str = "default"
    at_once: int = 1
    max_attempts: int = 3
    arguments: type[Arguments] = Arguments
    is_trusted: bool = False

    def write(self, arguments: Mapping[str, Any]) -> str:
        """Return a job's arguments as they are recorded.

        Raises:
            InvalidInput: when they are no JSON, or not what this kind takes, with every mistake.
        """
        try:
            document = canonical(arguments)
        except (TypeError, ValueError):
            raise InvalidInput("arguments: they are not JSON", hint="use text, numbers, lists and objects") from None
        try:
            self.arguments.model_validate_json(document, strict=True)
        except ValidationError as error:
            from contracts.specs.loading import describe_problems

            problems = describe_problems(error, self.arguments, arguments)
            raise InvalidInput(
                f"arguments of {self.name}: {'; '.join(map(str, problems))}", hint=f"{self.name} takes {self.usage}"
            ) from None
        return document

    @property
    def usage(self) -> str:
        """The arguments' names in words, those that may be left out in brackets."""
        fields = self.arguments.model_fields.items()
        return ", ".join(name if field.is_required() else f"[{name}]" for name, field in fields) or "no arguments"


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
