"""What users saw: counts by status, version, lane and cause, and latencies from when each request was meant to go."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from contracts.sketch import bucket_of, quantile_s, upper_edge_s

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
UNANSWERED = 0
"""The status of a request that brought no answer: refused connection, broken off, too late."""
BARS = 40


@dataclass
class TrafficTotals:
    """Everything seen so far.

    ``latency`` holds the good answers' times from the intended start, so that a request which could not be sent in
    time counts as slow: no coordinated omission. ``not_sent`` counts those given up because too many waited already;
    ``late_s`` is the most that the generator itself was behind its plan.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    lanes: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)
    longest_s: float = 0.0
    latency_sum_s: float = 0.0
    not_sent: int = 0
    late_s: float = 0.0

    @property
    def sent(self) -> int:
        """Requests that were sent and have ended."""
        return sum(self.statuses.values())

    @property
    def bad(self) -> int:
        """Requests that brought the user no picture."""
        return self.sent - self.statuses[200]

    def count(self, status: int, latency_s: float, version: str, lane: str) -> None:
        """Count one request that has ended."""
        self.statuses[status] += 1
        self.versions[version] += 1
        self.lanes[lane] += 1
        if status == 200:
            self.latency[bucket_of(latency_s)] += 1
            self.latency_sum_s += latency_s
            self.longest_s = max(self.longest_s, latency_s)

    def to_document(self, duration_s: float) -> dict[str, Any]:
        """Return the totals as JSON."""
        good = self.statuses[200]
        return {
            "duration_s": round(duration_s, 3),
            "sent": self.sent,
            "good": good,
            "bad": self.bad,
            "not_sent": self.not_sent,
            "good_per_s": round(good / duration_s, 3) if duration_s else 0.0,
            "generator_late_s": round(self.late_s, 4),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "versions": dict(self.versions.most_common()),
            "lanes": dict(self.lanes.most_common()),
            "causes": dict(self.causes.most_common()),
            "latency_s": {
                "mean": round(self.latency_sum_s / good, 6) if good else None,
                **{f"p{share * 100:g}": self._quantile_s(share) for share in QUANTILES},
                "max": round(self.longest_s, 6),
            },
            "histogram": [[round(upper_edge_s(bucket), 6), self.latency[bucket]] for bucket in sorted(self.latency)],
        }

    def to_text(self, duration_s: float) -> str:
        """Return the totals for people, with a histogram of latencies."""
        told = self.to_document(duration_s)
        good = f"{told['good']} good ({told['good_per_s']:.2f} a second)"
        lines = [f"{self.sent} requests in {duration_s:.1f} s, {good}, {self.bad} bad, {self.not_sent} not sent"]
        for title in ("statuses", "versions", "lanes", "causes"):
            if told[title]:
                rows = told[title].items()
                lines.append(f"{title}: " + ", ".join(f"{name or '(none)'} {count}" for name, count in rows))
        if self.latency:
            quantiles = {name: value for name, value in told["latency_s"].items() if value is not None}
            lines.append("latency: " + ", ".join(f"{name} {_shown(value)}" for name, value in quantiles.items()))
            lines += self._bars()
        if self.late_s > 0.1:
            lines.append(f"the generator itself was up to {_shown(self.late_s)} late: this machine is too busy")
        return "\n".join(lines)

    def _quantile_s(self, share: float) -> float | None:
        found_s = quantile_s(self.latency, share)
        return None if found_s is None else round(min(found_s, self.longest_s), 6)

    def _bars(self) -> list[str]:
        """Draw about a dozen rows, each of a few neighbouring buckets."""
        first, last = min(self.latency), max(self.latency)
        width = max(1, (last - first) // 12 + 1)
        rows = Counter(dict.fromkeys(range(first, last + 1, width), 0))
        for bucket, count in self.latency.items():
            rows[first + (bucket - first) // width * width] += count
        most = max(rows.values())
        return [
            f"  ≤ {_shown(upper_edge_s(start + width - 1)):>8}  {'█' * max(1, round(BARS * count / most))} {count}"
            if count
            else f"  ≤ {_shown(upper_edge_s(start + width - 1)):>8}"
            for start, count in sorted(rows.items())
        ]


def _shown(duration_s: float) -> str:
    return f"{duration_s * 1000:.3g} ms" if duration_s < 1 else f"{duration_s:.3g} s"
