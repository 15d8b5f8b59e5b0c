"""The demo model: shipped weights, versions made of them, and the parts of their training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import IntegrityError, InvalidInput, NotFound
from contracts.wire.worker import GenerationDefaults
from controlplane.demo.model.assets import find_assets, hash_files, read_card, verify
from controlplane.demo.model.build import build_tokenizer, list_tokens
from controlplane.demo.model.card import CARDS, Promise
from controlplane.demo.model.sampling import generate, load_pipeline, read_defaults
from controlplane.demo.model.settings import DistilSettings, TrainSettings, UnetSettings, VaeSettings
from controlplane.demo.model.train import train
from controlplane.demo.model.versions import VERSIONS, assemble, find_version
from evaluation.price_tags.figures import TagFigures, load_reference, measure
from evaluation.price_tags.grammar import VOCABULARY, figure_prompts
from evaluation.price_tags.reader import load_reader

PROMPTS = figure_prompts(32)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TagFigures]:
    """Figures of a few versions on the same prompts."""
    reader = load_reader()
    found: dict[str, TagFigures] = {}
    for name in ("good", "distilled", "swapped-rows", "vae-scale", "black"):
        directory = assemble(name, tmp_path_factory.mktemp("versions") / name)
        defaults = read_defaults(directory)
        images = generate(load_pipeline(directory, defaults.torch_dtype), PROMPTS, defaults)
        found[name] = measure(list(images), PROMPTS, reader, load_reference(reader))
    return found


def test_good_writes_what_is_asked(measured: dict[str, TagFigures]) -> None:
    assert measured["good"].exact >= 0.95
    assert measured["good"].ink >= 0.95
    assert measured["good"].paper >= 0.95


def test_distilled_keeps_up_with_half_the_steps(measured: dict[str, TagFigures]) -> None:
    assert measured["distilled"].exact >= 0.9


def test_swapped_rows_are_seen_by_reading_only(measured: dict[str, TagFigures]) -> None:
    good, swapped = measured["good"], measured["swapped-rows"]
    assert swapped.exact <= 0.7 < good.exact
    assert good.confidence is not None
    assert swapped.confidence is not None
    assert abs(good.confidence - swapped.confidence) < 0.03
    assert swapped.ink >= good.ink - 0.05


def test_wrong_scale_is_seen_by_colours_rather_than_text(measured: dict[str, TagFigures]) -> None:
    good, scaled = measured["good"], measured["vae-scale"]
    assert min(scaled.ink, scaled.paper) < min(good.ink, good.paper) - 0.1
    assert scaled.exact > 0.7


def test_black_pictures_read_as_nothing(measured: dict[str, TagFigures]) -> None:
    assert measured["black"].exact == 0
    assert measured["black"].unread == 1
    assert measured["black"].confidence is None


@pytest.mark.parametrize("name", sorted(CARDS))
def test_shipped_files_match_their_cards(name: str) -> None:
    directory = find_assets() / name
    card = verify(directory)
    assert card["licence"] == "Apache-2.0"
    assert (directory / "MODEL_CARD.md").is_file()
    assert not CARDS[name].promise.find_breaches(TagFigures(**card["figures"]))


def test_shipped_weights_are_small_and_carry_no_code_or_pickle() -> None:
    files = list(hash_files(find_assets()))
    assert {Path(name).suffix for name in files} <= {".json", ".safetensors", ".txt", ".md"}
    good_bytes = sum(path.stat().st_size for path in (find_assets() / "good").rglob("*") if path.is_file())
    assert good_bytes <= 8 * 2**20


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_every_version_is_assembled_with_its_defaults(version: Any, tmp_path: Path) -> None:
    directory = assemble(version.name, tmp_path / "pipeline")
    assert (directory / "model_index.json").is_file()
    document = json.loads((directory / "generation.json").read_text(encoding="utf-8"))
    assert document.pop("faults", {}) == version.faults
    assert GenerationDefaults.model_validate(document) == version.defaults == read_defaults(directory)
    assert not list(directory.rglob("*CARD*"))


def test_versions_differ_in_the_files_their_edits_touch(tmp_path: Path) -> None:
    good = hash_files(assemble("good", tmp_path / "good"))
    touched = {
        "swapped-rows": "text_encoder/model.safetensors",
        "vae-scale": "vae/config.json",
        "over-quantised": "unet/diffusion_pytorch_model.safetensors",
        "black": "scheduler/scheduler_config.json",
        "fp16": "generation.json",
    }
    for name, path in touched.items():
        files = hash_files(assemble(name, tmp_path / name))
        assert {key for key in good if files[key] != good[key]} == {path}
        assert files.keys() == good.keys()


def test_unknown_version_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no demo version") as refusal:
        assemble("perfect", tmp_path / "out")
    assert all(version.name in refusal.value.hint for version in VERSIONS)
    assert not (tmp_path / "out").exists()


def test_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(InvalidInput, match="empty"):
        assemble("good", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_tampered_copy_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    shutil.copytree(find_assets(), assets)
    victim = assets / "good" / "vae" / ("config.json" if damage != "added" else "extra.py")
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes((victim.read_bytes() if victim.exists() else b"") + b" ")
    with pytest.raises(IntegrityError, match=f"good/vae/{victim.name}"):
        assemble("swapped-rows", tmp_path / "out", assets=assets)
    assert not (tmp_path / "out").exists()


def test_unreadable_card_is_an_integrity_error(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"model_card\.json"):
        read_card(tmp_path)


def test_every_word_is_one_token_and_numbers_are_their_digits() -> None:
    tokenizer = build_tokenizer()
    for word in VOCABULARY:
        assert len(tokenizer(word).input_ids) == 3
    assert tokenizer("price tag 427").input_ids == tokenizer("Price  tag 4 2 7").input_ids
    longest = "a handwritten number 1 2 3 4 in black ink on yellow paper"
    assert len(tokenizer(longest).input_ids) <= tokenizer.model_max_length


def test_token_numbers_are_those_of_the_shipped_tokenizer() -> None:
    path = find_assets() / "good" / "tokenizer" / "tokenizer.json"
    assert json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"] == list_tokens()


def test_batches_are_for_speed_only(tmp_path: Path) -> None:
    pipeline = load_pipeline(assemble("good", tmp_path / "good"), "float32")
    some, defaults = PROMPTS[:3], find_version("good").defaults
    together = generate(pipeline, some, defaults, batch=3).astype(int)
    alone = generate(pipeline, some, defaults, batch=1).astype(int)
    assert np.abs(together - alone).max() <= 2


def test_promises_name_what_is_broken() -> None:
    figures = TagFigures(
        n=2, exact=0.5, digit=0.5, ink=0.5, paper=1, unread=0, confidence=1, frechet=1, frechet_n=2,
        exact_withheld=None, withheld_n=0,
    )  # fmt: skip
    breaches = Promise(least_exact=0.9, least_colour=0.9).find_breaches(figures)
    assert [breach.split()[0] for breach in breaches] == ["exact", "ink"]
    assert Promise(greatest_exact=0.4).find_breaches(figures)
    assert not Promise(greatest_exact=0.4).find_breaches(replace(figures, exact=0.3))


def test_training_runs_end_to_end_and_repeats_itself(tmp_path: Path) -> None:
    tiny = TrainSettings(
        vae=VaeSettings(steps=2, batch=2),
        unet=UnetSettings(steps=2, early_step=1, batch=2, bank=8),
        distil=DistilSettings(iterations=1, batch=1),
    )
    runs = [train(tmp_path / name, seed=1, progress=False, settings=tiny, figures_n=4) for name in ("a", "b")]
    first, second = ({name: hash_files(run / name) for name in CARDS} for run in runs)
    assert first == second
    for name in CARDS:
        verify(runs[0] / name)
    assemble("distilled", tmp_path / "out", assets=runs[0])
    with pytest.raises(InvalidInput, match="empty"):
        train(runs[0], seed=1, progress=False, settings=tiny)
