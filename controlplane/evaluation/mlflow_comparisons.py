"""Comparisons in MLflow: one run each, with its figures, its page, and tags to find it by."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contracts.errors import Unavailable
from evaluation.side_by_side.precondition import ComparisonRecord
from evaluation.side_by_side.result import Comparison
from evaluation.side_by_side.verdicts import Finding
from registry.mlflow_store import MlflowStore

EXPERIMENT = "roost-comparisons"
KIND = "roost.comparison"
DOCUMENT, PAGE, PAIRS = "comparison.json", "comparison.html", "pairs.jsonl"
MOST_FOUND = 100


class MlflowComparisons:
    """Keeps comparisons as runs of the experiment ``roost-comparisons`` of an MLflow store."""

    def __init__(self, store: MlflowStore) -> None:
        self._store = store

    def keep(self, comparison: Comparison, page: str) -> ComparisonRecord:
        """Write a run: parameters, figures, the page, all pairs; it is found only once all of it is there.

        Raises:
            Unavailable: when MLflow does not answer, or there is no room.
        """
        from mlflow.exceptions import MlflowException

        client = self._store.client
        try:
            run = client.create_run(self._experiment(), run_name=f"{comparison.other.version} {comparison.finding}")
            run_id = str(run.info.run_id)
            for key, value in _params(comparison).items():
                client.log_param(run_id, key, value)
            for key, number in _figures(comparison).items():
                client.log_metric(run_id, key, number)
            client.log_text(run_id, json.dumps(comparison.to_document(), indent=2, ensure_ascii=False), DOCUMENT)
            rows = (json.dumps(asdict(row), ensure_ascii=False) for row in comparison.rows)
            client.log_text(run_id, "".join(f"{row}\n" for row in rows), PAIRS)
            client.log_text(run_id, page, PAGE)
            # The tags that searches go by come last.
            for key, value in _tags(comparison).items():
                client.set_tag(run_id, key, value)
            client.set_terminated(run_id)
            return _read_record(client.get_run(run_id))
        except (MlflowException, OSError) as error:
            raise Unavailable(f"the comparison was not kept: {error}", hint="is the MLflow store there?") from None

    def find(self, one_digest: str, other_digest: str) -> list[ComparisonRecord]:
        """Return the comparisons of these two contents, newest first."""
        from mlflow.exceptions import MlflowException

        for digest in (one_digest, other_digest):
            if not digest.startswith("sha256:") or not digest.removeprefix("sha256:").isalnum():
                return []
        try:
            experiment = self._store.client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                return []
            found = self._store.client.search_runs(
                [experiment.experiment_id],
                f"tags.`{KIND}` != '' AND tags.`roost.one_digest` = '{one_digest}' "
                f"AND tags.`roost.other_digest` = '{other_digest}' AND attributes.status = 'FINISHED'",
                max_results=MOST_FOUND,
                order_by=["attributes.end_time DESC"],
            )
        except MlflowException as error:
            raise Unavailable(f"comparisons can't be read: {error}", hint="is the MLflow store there?") from None
        return [_read_record(run) for run in found]

    def pairs(self, run_id: str) -> list[dict[str, Any]]:
        """Return all pairs of a kept comparison, as they were written: see ``PairRow``.

        Raises:
            Unavailable: when MLflow does not answer, or the file is gone.
        """
        from mlflow.exceptions import MlflowException

        try:
            with tempfile.TemporaryDirectory() as folder:
                text = Path(self._store.client.download_artifacts(run_id, PAIRS, folder)).read_text(encoding="utf-8")
        except (MlflowException, OSError) as error:
            raise Unavailable(f"the pairs of {run_id} can't be read: {error}", hint="is the artefact there?") from None
        return [json.loads(line) for line in text.splitlines()]

    def _experiment(self) -> str:
        found = self._store.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = (self._store.artifacts / "comparisons").resolve().as_uri()
        return str(self._store.client.create_experiment(EXPERIMENT, artifact_location=location))


def _params(comparison: Comparison) -> dict[str, str]:
    name, version, digest = comparison.prompts
    return {
        "one": comparison.one.version,
        "other": comparison.other.version,
        "prompts": f"{name} version {version}",
        "prompts_digest": digest,
        "tolerance": f"{comparison.tolerance:g}",
        "alpha": f"{comparison.alpha:g}",
        "planned_pairs": str(comparison.planned),
    }


def _figures(comparison: Comparison) -> dict[str, float]:
    figures: dict[str, float | None] = {"pairs": float(comparison.n)}
    for result in comparison.measures:
        parts = {
            "one": result.mean_one,
            "other": result.mean_other,
            "difference": result.difference,
            "low": result.low,
            "high": result.high,
            "n": float(result.n),
        }
        figures |= {f"{result.measure}.{part}": value for part, value in parts.items()}
    figures |= {f"latency.{key}": value for key, value in asdict(comparison.latency).items()}
    for side, contestant in (("one", comparison.one), ("other", comparison.other)):
        memory = contestant.peak_memory_bytes
        figures[f"peak_memory_bytes.{side}"] = None if memory is None else float(memory)
    return {key: value for key, value in figures.items() if value is not None}


def _tags(comparison: Comparison) -> dict[str, str]:
    scorers = {result.measure: result.digest for result in comparison.measures}
    return {
        "roost.one": comparison.one.version,
        "roost.other": comparison.other.version,
        "roost.prompts_digest": comparison.prompts[2],
        "roost.scorers": json.dumps(scorers, sort_keys=True),
        "roost.finding": comparison.finding.value,
        "roost.pairs": str(comparison.n),
        "roost.sentence": comparison.sentence,
        "roost.one_digest": comparison.one.digest,
        "roost.other_digest": comparison.other.digest,
        KIND: "1",
    }


def _read_record(run: Any) -> ComparisonRecord:
    tags: Mapping[str, str] = run.data.tags
    return ComparisonRecord(
        one=tags["roost.one"],
        other=tags["roost.other"],
        one_digest=tags["roost.one_digest"],
        other_digest=tags["roost.other_digest"],
        prompts_digest=tags["roost.prompts_digest"],
        scorers=json.loads(tags["roost.scorers"]),
        finding=Finding(tags["roost.finding"]),
        pairs=int(tags["roost.pairs"]),
        sentence=tags["roost.sentence"],
        run_id=str(run.info.run_id),
        at_s=run.info.end_time / 1000,
    )
