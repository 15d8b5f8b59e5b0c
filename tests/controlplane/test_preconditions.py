"""What must hold before a version gets traffic: its warm-up pictures show something, a comparison found no harm."""

import io
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from PIL import Image

from contracts.errors import NotPermitted
from contracts.ids import VersionRef
from contracts.rng import SeededRng
from controlplane.desks.rollouts import RolloutDesk
from controlplane.evaluation.required import RequiredComparison
from controlplane.settings import Settings
from evaluation.side_by_side.precondition import ComparisonRecord
from evaluation.side_by_side.result import Comparison
from evaluation.side_by_side.verdicts import Finding
from rollout.phases import Phase
from tests.controlplane.conftest import SPEC, Bench


def png(levels: int) -> bytes:
    """A picture of 8 x 8 pixels with so many levels of grey."""
    file = io.BytesIO()
    picture = Image.new("L", (8, 8))
    picture.putdata([index % levels * (255 // levels) for index in range(64)])
    picture.convert("RGB").save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Levels of grey in what each worker draws, by the end of its address; 8 otherwise."""
    levels: dict[str, int] = {}

    def post(url: str, **options: object) -> httpx.Response:
        port = httpx.URL(url).port
        return httpx.Response(200, content=png(levels.get(str(port)[-1], 8)))

    monkeypatch.setattr("controlplane.loop.effects.httpx.post", post)
    return levels


def test_black_pictures_never_see_a_user(tmp_path: Path, drawn: dict[str, int]) -> None:
    with closing(Bench(tmp_path)) as bench:
        drawn["2"] = 1
        decision = bench.run(until=lambda d: d.state.phase is Phase.FAILED)
        assert "warm-up pictures of m@2 are blank" in decision.reason.sentence
        bench.ticks(20)
        assert max(bench.traffic.weights) == 0.0


def test_somebody_may_insist_on_black_pictures(tmp_path: Path, drawn: dict[str, int]) -> None:
    with closing(Bench(tmp_path)) as bench:
        drawn["2"] = 1
        bench.begin(forced=True)
        bench.run(until=lambda d: d.weight > 0)


@dataclass
class Kept:
    """Comparisons in memory."""

    records: list[ComparisonRecord] = field(default_factory=list)

    def keep(self, comparison: Comparison, page: str) -> ComparisonRecord:
        raise NotImplementedError

    def find(self, one_digest: str, other_digest: str) -> list[ComparisonRecord]:
        return [r for r in self.records if (r.one_digest, r.other_digest) == (one_digest, other_digest)]


def test_a_required_comparison_must_be_there_and_must_have_found_no_harm(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    with closing(Bench(tmp_path, SPEC + "require: {comparison: true}\n")) as bench:
        kept = Kept()
        required = RequiredComparison(Settings(tmp_path), bench.catalogue, kept)
        desk = RolloutDesk(bench.stores, bench.catalogue, bench.clock, SeededRng(1), preconditions=(required,))
        with pytest.raises(NotPermitted, match="roost eval compare m@1 m@2"):
            desk.start("tags", VersionRef("m", number=2), actor="eva", reason="faster")
        digests = [bench.catalogue.get(VersionRef("m", number=n)).digest for n in (1, 2)]

        def record(finding: Finding) -> ComparisonRecord:
            return ComparisonRecord(
                one="m@1",
                other="m@2",
                one_digest=digests[0],
                other_digest=digests[1],
                prompts_digest="sha256:" + "0" * 64,
                scorers={},
                finding=finding,
                pairs=40,
                sentence=f"the finding is {finding}",
                run_id="run",
                at_s=1.0,
            )

        kept.records = [record(Finding.WORSE)]
        with pytest.raises(NotPermitted, match="the finding is worse"):
            desk.start("tags", VersionRef("m", number=2), actor="eva", reason="faster")
        kept.records = [record(Finding.EQUIVALENT)]
        assert desk.start("tags", VersionRef("m", number=2), actor="eva", reason="faster").challenger == "m@2"
