"""Kinds of scorers by name: Roost's own, installed ones, broken ones."""

import sys
from pathlib import Path

import pytest

from contracts.errors import InvalidInput, Unavailable
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.isolated import IsolatedScorer
from evaluation.scorers.kinds import ScorerChoice, find_kinds, make_guarded, make_scorer

PLUGIN = """
import os
from evaluation.scorers.kinds import ScorerKind
from evaluation.scorers.port import Score


class Polite:
    name = "polite"
    digest = "sha256:1"

    def __init__(self, word):
        self.word = word

    def score(self, samples):
        if any(sample.prompt == "exit" for sample in samples):
            os._exit(1)
        return [Score(float(self.word in sample.prompt)) for sample in samples]


KIND = ScorerKind("polite", "1 for please", lambda o: Polite(o.get("word", "please")), {"word": "which"})
TAKEN = ScorerKind("text-accuracy", "an impostor", lambda o: Polite(""))
NO_KIND = 5
"""


def install(folder: Path, entry_points: str) -> None:
    """Lay out a distribution as an installer does: the module, and a dist-info with its entry points."""
    (folder / "polite_scorers.py").write_text(PLUGIN)
    info = folder / "polite_scorers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: polite-scorers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[roost.scorers]\n{entry_points}\n")


def sample(prompt: str) -> SampledOutput:
    return SampledOutput(
        service="s", version=VersionId("m", 1), request_id="r", lane="x", prompt=prompt, seed=0, at_s=0.0, image_png=b""
    )


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("polite_scorers", None)
    return tmp_path


def test_an_installed_scorer_is_found_by_its_name(plugins: Path) -> None:
    install(plugins, "polite = polite_scorers:KIND")
    scorer = make_scorer(ScorerChoice.parse("polite"))
    assert [score.value for score in scorer.score([sample("a tag, please"), sample("a tag")])] == [1.0, 0.0]
    other = make_scorer(ScorerChoice.parse("polite:word=kindly"))
    assert other.score([sample("kindly")])[0].value == 1.0


def test_an_installed_scorer_that_kills_its_process_is_no_data(plugins: Path) -> None:
    install(plugins, "polite = polite_scorers:KIND")
    scorer = make_guarded(ScorerChoice.parse("polite:word=die"), find_kinds())
    assert isinstance(scorer, IsolatedScorer)
    with scorer:
        good, fatal = scorer.score([sample("now die"), sample("exit")])
    assert (good.value, fatal.value) == (1.0, None)
    assert "died" in fatal.reason


def test_a_broken_package_takes_no_other_scorer_along(plugins: Path) -> None:
    install(
        plugins,
        "gone = no_such_module:KIND\nnumber = polite_scorers:NO_KIND\nother-name = polite_scorers:KIND\n"
        "text-accuracy = polite_scorers:TAKEN\npolite = polite_scorers:KIND",
    )
    kinds = find_kinds()
    assert "polite" in kinds.by_name
    assert "no_such_module" in kinds.broken["gone"]
    assert "no ScorerKind" in kinds.broken["number"]
    assert "other-name" in kinds.broken
    assert "digits" in kinds.by_name["text-accuracy"].meaning
    with pytest.raises(Unavailable, match="no_such_module"):
        make_scorer(ScorerChoice.parse("gone"), kinds)


def test_an_unknown_scorer_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="'text-acuracy'") as raised:
        make_scorer(ScorerChoice.parse("text-acuracy"))
    assert "text-accuracy" in raised.value.hint
    assert "clip-alignment" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clip-alignment", "folder is missing"),
        ("text-accuracy:folder=x", "no option 'folder'"),
        ("image-sound:width", "'width' in"),
        ("image-sound:width=wide", "image-sound"),
        ("image-sound:like=/no/such/folder", "not a folder"),
        ("clip-alignment:folder=/no/such/folder", "not a folder"),
        ("safety-words:file=/no/such/file", "can't be read"),
    ],
)
def test_wrong_options_are_told(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        make_scorer(ScorerChoice.parse(text))


def test_options_are_read_in_any_order() -> None:
    one = ScorerChoice.parse("image-sound:width=64,height=32")
    assert one == ScorerChoice.parse("image-sound:height=32,width=64")
    assert make_scorer(one).digest != make_scorer(ScorerChoice.parse("image-sound")).digest
