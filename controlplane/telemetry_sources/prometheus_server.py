"""A Prometheus server over HTTP: its clock, and the samples that it really scraped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx

from contracts.errors import InvalidInput, Unavailable

TIMEOUT_S = 5.0
MOST_SERIES = 5000

Sample = tuple[float, float]
Target = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """The samples (time on the server's clock, value) of one series, oldest first."""

    labels: Mapping[str, str]
    samples: tuple[Sample, ...]

    @property
    def target(self) -> Target:
        """What was scraped."""
        return target_of(self.labels)

    @property
    def newest_s(self) -> float:
        """Time of the last sample."""
        return self.samples[-1][0]


def target_of(labels: Mapping[str, str]) -> Target:
    """Return job and instance, empty where they aren't told."""
    return labels.get("job", ""), labels.get("instance", "")


class PrometheusServer:
    """One server; close it when done."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=headers, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its connection."""
        self._http.close()

    def now_s(self) -> float:
        """Return the server's own clock.

        Raises:
            Unavailable: when it doesn't answer.
        """
        return float(self._ask("time()", "scalar")[1])

    def samples(self, selector: str, *, at_s: float, length_s: float) -> list[Series]:
        """Return the samples scraped within ``length_s`` before ``at_s``; series that ended keep those they had.

        A range selector gives samples as scraped: nothing is interpolated, and a dead target has none.

        Raises:
            Unavailable: when the server doesn't answer.
            InvalidInput: when it refuses the selector, or too many series match it.
        """
        found = self._ask(f"{selector}[{math.ceil(length_s * 1000)}ms]", "matrix", time=f"{at_s:.3f}")
        if len(found) > MOST_SERIES:
            raise InvalidInput(
                f"{selector}: {len(found)} series, more than {MOST_SERIES}", hint="add matchers to the selector"
            )
        return [series for row in found if (series := _read_series(row)).samples]

    def values(self, query: str, *, at_s: float) -> list[tuple[Mapping[str, str], float]]:
        """Return the labels and values of an instant query; what has ended or whose target is gone is not there.

        Raises:
            Unavailable: when the server doesn't answer.
            InvalidInput: when it refuses the query.
        """
        found = self._ask(query, "vector", time=f"{at_s:.3f}")
        return [(row["metric"], float(row["value"][1])) for row in found]

    def _ask(self, query: str, kind: str, **more: str) -> Any:
        try:
            answer = self._http.post("/api/v1/query", data={"query": query, **more})
            document = answer.json()
            status, error = document["status"], document.get("error", "")
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as failure:
            raise Unavailable(
                f"Prometheus at {self._http.base_url} gave no answer ({type(failure).__name__})", hint="is it running?"
            ) from None
        if answer.status_code in {400, 422}:
            raise InvalidInput(f"Prometheus refused {query!r}: {error}", hint="try it in Prometheus' own page")
        if status != "success" or document["data"]["resultType"] != kind:
            raise Unavailable(f"Prometheus at {self._http.base_url} answered {answer.status_code}: {error}")
        return document["data"]["result"]


def _read_series(row: dict[str, Any]) -> Series:
    samples = [(float(at_s), float(value)) for at_s, value in row["values"]]
    return Series(row["metric"], tuple(sample for sample in samples if math.isfinite(sample[1])))
