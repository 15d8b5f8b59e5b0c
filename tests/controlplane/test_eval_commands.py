"""``roost eval`` as a person meets it: real versions, real workers, real MLflow."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.wire.worker import FaultDrill
from controlplane.demo.model.versions import assemble, find_version
from controlplane.evaluation.comparing import find_precondition, open_catalogue, open_comparisons
from controlplane.evaluation.demo_prompts import demo_prompt_set
from controlplane.evaluation.painter import painters
from controlplane.settings import Settings
from evaluation.price_tags.grammar import parse_prompt
from evaluation.price_tags.render import draw_tag, load_digit_set
from evaluation.prompts.prompt_set import make_prompt
from evaluation.prompts.reading import read_prompt_set
from registry.catalogue import Registration
from tests.prepared import prepare_catalogue

ROOST = Path(sys.executable).with_name("roost")
PATIENCE = 600  # a busy machine is no failure
VERSIONS = ("good", "distilled", "swapped-rows", "hungry")


def roost(*words: object, timeout_s: float = PATIENCE - 20) -> subprocess.CompletedProcess[str]:
    command = [str(ROOST), "eval", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with versions 1 to 4 of the demo model registered; the first is champion."""
    home = tmp_path_factory.mktemp("home")
    catalogue = prepare_catalogue(home)
    for name in VERSIONS:
        version = find_version(name)
        directory = assemble(name, tmp_path_factory.mktemp("pipeline") / "p")
        faults = FaultDrill.model_validate(version.faults)
        record = catalogue.register("price-tags", Registration(directory, defaults=version.defaults, faults=faults))
        if name == "good":
            catalogue.move_alias(record.id, CHAMPION, actor="test", reason="the first")
    return home


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "tags.jsonl"
    assert roost("prompts", "demo", "--out", file, "--n", 240).returncode == 0
    return file


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_a_version_with_swapped_rows_is_worse_and_kept_so(home: Path, tags: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ("price-tags@champion", "price-tags@3", "--prompts", tags, "--home", home)
    answer = roost("compare", *words, "--json", "--out", page)
    assert answer.returncode == 1, answer.stderr
    document = json.loads(answer.stdout)
    assert document["finding"] == "worse"
    assert document["pairs"] < 200
    assert document["prompts"]["digest"] == read_prompt_set(tags).digest
    assert {row["measure"] for row in document["measures"]} == {"drawn", "text-accuracy", "tag-colours"}
    assert document["latency"]["p50_one_s"] > 0
    html = page.read_text()
    assert "shows" in html
    assert html.count("data:image/png") > 10
    check = roost("check", *words)
    assert check.returncode == 1
    assert "worse in text-accuracy" in check.stdout
    _check_run(home, document, html)
    _check_pairs(home, document["pairs"])


def _check_run(home: Path, document: dict[str, Any], html: str) -> None:
    """All of the result lies in the MLflow run: figures, tags with digests, document, page, pairs."""
    from mlflow import MlflowClient

    client = MlflowClient(Settings(home).mlflow_uri)
    run = client.get_run(document["run_id"])
    assert run.data.tags["roost.one_digest"] == document["one"]["digest"]
    assert run.data.tags["roost.finding"] == "worse"
    assert run.data.metrics["text-accuracy.other"] < run.data.metrics["text-accuracy.one"]
    assert run.data.params["prompts_digest"] == document["prompts"]["digest"]
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (folder / "comparison.html").read_text() == html
    assert json.loads((folder / "comparison.json").read_text())["finding"] == "worse"
    assert len((folder / "pairs.jsonl").read_text().splitlines()) == document["pairs"]


def _check_pairs(home: Path, pairs: int) -> None:
    """The kept pairs are listed, those first in which the second version lost most, as text and as JSON."""
    words = ("price-tags@champion", "price-tags@3", "--home", home)
    listed = json.loads(roost("pairs", *words, "--json", "--at-most", 10_000).stdout)
    assert len(listed) == 3 * pairs
    lost = [other - one for row in listed for one, other in [row["scores"][row["measure"]]]]
    assert lost == sorted(lost)
    assert lost[0] == -1.0
    # Rows 1 and 7 of the vocabulary changed places: these prompts hold one of them, as a digit or as a word.
    assert all(set("17") & set(parse_prompt(row["prompt"]).digits) for row in listed[:5])  # type: ignore[union-attr]
    shown = roost("pairs", *words, "--at-most", 3)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("text-accuracy") == 3
    assert listed[0]["prompt"] in shown.stdout
    never = roost("pairs", "price-tags@4", "price-tags@3", "--home", home)
    assert never.returncode == 3
    assert "roost eval compare" in never.stderr


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_the_distilled_version_is_equivalent_and_faster_and_may_be_rolled_out(home: Path, tags: Path) -> None:
    words = ("price-tags@champion", "price-tags@2", "--prompts", tags, "--home", home)
    before = roost("check", *words)
    assert before.returncode == 7
    assert "no comparison" in before.stdout
    answer = roost("compare", *words, "--tolerance", "20%")
    assert answer.returncode == 0, answer.stderr + answer.stdout
    assert "equivalent within a tolerance of 0.2" in answer.stdout
    assert roost("check", *words).returncode == 0
    references = (VersionRef.parse("price-tags@1"), VersionRef.parse("price-tags@2"))
    found = find_precondition(Settings(home), references, prompts=demo_prompt_set(240))
    assert found.is_met
    assert not find_precondition(Settings(home), references, prompts=demo_prompt_set(200)).is_met
    kept = open_comparisons(Settings(home)).find(found.record.one_digest, found.record.other_digest)  # type: ignore[union-attr]
    assert [record.run_id for record in kept] == [found.record.run_id]  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_few_pairs_are_not_enough_and_that_has_a_status_of_its_own(home: Path, tags: Path) -> None:
    words = ("price-tags@1", "price-tags@1", "--prompts", tags, "--home", home, "--max-pairs", 8, "--no-keep")
    answer = roost("compare", *words)
    assert answer.returncode == 7, answer.stderr
    assert "not enough evidence in drawn, text-accuracy, tag-colours after 8 of 8 pairs" in answer.stdout
    assert "kept" not in answer.stdout
    # One version beside itself draws the same pictures to the last bit.
    assert "+0.000" in answer.stdout


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_attempts_that_fail_are_told_and_never_raised(home: Path, tmp_path: Path) -> None:
    settings = Settings(home)
    small, large = make_prompt("price tag 4"), make_prompt("price tag 4", height=512, width=1024)
    version = VersionId("price-tags", 4)
    with painters(open_catalogue(settings), version, version, logs=tmp_path) as (one, other):
        assert one.draw(small).image_png == other.draw(small).image_png
        assert one.draw(large).failure.startswith("oom")
        assert one.draw(small).failure == ""
        assert (one.peak_memory_bytes() or 0) > 2**20
        other.close()
        assert other.draw(small).image_png is None
        assert other.draw(small).failure.startswith("gone")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("compare", "m@1", "m@2", "--prompts", "/no/such.jsonl"), 2, "No such file"),
        (("compare", "m", "m@2", "--prompts", "{tags}"), 2, "names no version"),
        (("compare", "m@1", "m@2", "--prompts", "{tags}", "--home", "/no/such/home"), 3, "no registry"),
        (("compare", "m@1", "m@2", "--prompts", "{tags}", "--tolerance", "5"), 2, "between"),
        (("compare", "m@1", "m@2", "--prompts", "{empty}"), 2, "is empty"),
        (("pairs", "m@1", "m@2", "--home", "/no/such/home"), 3, "no registry"),
        (("pairs", "m@1", "m@2", "--at-most", "0"), 2, "at-most"),
        (("check", "m@1", "m", "--home", "/no/such/home"), 2, "names no version"),
        (("score", "/no/such/folder"), 2, "not a folder"),
        (("prompts", "show", "/no/such.csv"), 2, "No such file"),
        (("distance", "/no/a", "/no/b", "--metric", "lpips"), 2, "lpips"),
        (("table", "/no/such.csv"), 2, "can't be read"),
    ],
)
def test_wrong_input_has_a_message_and_a_status(
    tags: Path, tmp_path: Path, words: tuple[str, ...], status: int, told: str
) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("prompt\n")
    answer = roost(*(word.replace("{tags}", str(tags)).replace("{empty}", str(empty)) for word in words))
    assert answer.returncode == status, answer.stderr
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Real tags for the first prompts of the demo's set, one of them wrong, and one file that is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng, digits = np.random.default_rng(0), load_digit_set("train")
    prompts = demo_prompt_set(240).prompts
    for k, prompt in enumerate(prompts[:20]):
        text = parse_prompt(prompts[k + 1].text if k == 7 else prompt.text)
        assert text is not None
        Image.fromarray(draw_tag(text, digits, rng)).save(folder / f"{prompt.id}.png")
    (folder / "tag-0020.png").write_bytes(b"no picture")
    return folder


def test_a_folder_is_scored_and_what_can_not_be_judged_is_told(pictures: Path, tags: Path) -> None:
    answer = roost(
        "score", pictures, "--prompts", tags, "--json", "--scorer", "text-accuracy", "--scorer", "image-sound"
    )
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    text, sound = document["scorers"]
    assert (text["n"], text["no_data"]) == (20, 1)
    assert "no picture" in text["reasons"][0]
    assert 0.5 < text["mean"] < 1.0
    assert sound["mean"] == pytest.approx(20 / 21)
    by_name = {row["picture"]: row["scores"] for row in document["pictures"]}
    assert by_name["tag-0007.png"]["text-accuracy"]["value"] == 0.0
    assert by_name["tag-0020.png"]["text-accuracy"]["value"] is None
    plain = roost("score", pictures, "--prompts", tags, "--each")
    assert "tag-0007.png" in plain.stdout
    assert "asked" in plain.stdout


def test_prompts_stand_beside_pictures_as_image_folders_have_them(pictures: Path) -> None:
    rows = [{"file_name": f"tag-{k:04}.png", "text": demo_prompt_set(20).prompts[k].text} for k in range(10)]
    (pictures / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (pictures / "tag-0010.txt").write_text(demo_prompt_set(20).prompts[10].text)
    (found,) = json.loads(roost("score", pictures, "--scorer", "text-accuracy", "--json").stdout)["scorers"]
    assert (found["n"], found["no_data"]) == (11, 10)
    (pictures / "metadata.jsonl").write_text('{"file_name": 5}\n')
    answer = roost("score", pictures)
    assert answer.returncode == 2
    assert "line 1" in answer.stderr


def test_a_prompt_set_is_built_redacted_and_shown(tmp_path: Path) -> None:
    source, out = tmp_path / "p.csv", tmp_path / "p.jsonl"
    source.write_text("prompt,lane\nan ad for joe@mail.org with a brand,final\na fox in the snow,\n")
    words = ("--out", out, "--redact", "--mention", "brand", "--name", "ads", "--set-version", 4)
    answer = roost("prompts", "build", source, *words)
    assert answer.returncode == 0, answer.stderr
    assert "1 email" in answer.stdout
    made = read_prompt_set(out)
    assert (made.name, made.version, made.prompts[0].text) == ("ads", 4, "an ad for [email] with a brand")
    shown = json.loads(roost("prompts", "show", out, "--json").stdout)
    assert shown["digest"] == made.digest
    assert shown["strata"]["mentions=brand"] == 1
    assert roost("prompts", "build", source, "--out", tmp_path / "p.csv").returncode == 2


def test_prompts_are_sampled_from_outputs(tmp_path: Path) -> None:
    from contracts.ids import VersionId
    from contracts.wire.telemetry import SampledOutput

    lines = [
        SampledOutput(
            service="tags", version=VersionId("m", 1), request_id=f"r{k}", lane="draft", prompt=f"call 0301234567{k}0",
            seed=k, at_s=0.0, image_png=b"",
        ).model_dump_json()
        for k in range(3)
    ]  # fmt: skip
    source, out = tmp_path / "outputs.jsonl", tmp_path / "live.jsonl"
    source.write_text("\n".join(lines))
    answer = roost("prompts", "sample", source, "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert [prompt.text for prompt in read_prompt_set(out).prompts] == ["call [phone]"]
    source.write_text(lines[0] + '\n{"service": 5}\n')
    assert "line 2" in roost("prompts", "sample", source, "--out", out).stderr


def test_tables_and_distances(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("actual,prediction,probability\n" + "1,1,0.9\n0,0,0.2\n1,0,0.4\n0,0,nan\n" * 20)
    figures = {row["name"]: row for row in json.loads(roost("table", tmp_path / "t.csv", "--json").stdout)}
    assert figures["accuracy"]["value"] == pytest.approx(0.75)
    assert figures["calibration-error"]["dropped"] == 20
    for side, shade in (("a", 60), ("b", 180)):
        (tmp_path / side).mkdir()
        for k in range(4):
            Image.new("RGB", (16, 16), (shade, k, 0)).save(tmp_path / side / f"{k}.png")
    (found,) = json.loads(roost("distance", tmp_path / "a", tmp_path / "b", "--metric", "kid", "--json").stdout)
    assert found["value"] is None
    assert (found["n_one"], found["n_other"]) == (4, 4)
    assert "needs 100" in found["reason"]


def test_scorers_are_listed() -> None:
    names = {row["name"] for row in json.loads(roost("scorers", "--json").stdout)["scorers"]}
    assert {"text-accuracy", "ocr-words", "clip-alignment", "image-sound", "safety-words"} <= names
