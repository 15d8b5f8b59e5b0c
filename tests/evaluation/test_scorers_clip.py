"""Scorers on local folders of weights: a tiny CLIP and a tiny classifier, made here, with random weights."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.errors import InvalidInput, NotPermitted
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.clip import ClipModel
from evaluation.scorers.kinds import ScorerChoice, make_scorer
from evaluation.scorers.safety import ConceptClassifier, FolderClassifier

pytestmark = pytest.mark.timeout(300)  # importing transformers takes minutes on a machine that is busy

PROMPTS = ["a red square", "a blue square", "price tag 4 2 7 in red ink", "x " * 200]
COLOURS = ["red", "blue", "white", "green"]


def save_clip(folder: Path, seed: int = 0) -> Path:
    """Write a CLIP folder of 60 000 parameters with a byte-level tokenizer of its own."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: index for index, sign in enumerate([*alphabet, "<|start|>", "<|end|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    start, end = vocabulary["<|start|>"], vocabulary["<|end|>"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", start), ("<|end|>", end)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|start|>", eos_token="<|end|>", pad_token="<|end|>", model_max_length=48
    )
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    config = CLIPConfig(
        text_config=size | {"vocab_size": len(vocabulary), "max_position_embeddings": 48} | tokens,
        vision_config=size | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(seed)
    CLIPModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("weights") / "clip")


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("weights") / "classifier"
    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8,
        id2label={0: "safe", 1: "Violence", 2: "nsfw"}, label2id={"safe": 0, "Violence": 1, "nsfw": 2},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def picture(colour: str) -> Image.Image:
    rng = np.random.default_rng(len(colour))
    base = np.asarray(Image.new("RGB", (64, 64), colour)).astype(int) + rng.integers(-40, 40, (64, 64, 3))
    return Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))


def samples(prompts: list[str] = PROMPTS) -> list[SampledOutput]:
    made = []
    for prompt, colour in zip(prompts, COLOURS, strict=False):
        file = io.BytesIO()
        picture(colour).save(file, format="PNG")
        made.append(
            SampledOutput(
                service="s", version=VersionId("m", 1), request_id="r", lane="x", prompt=prompt, seed=0, at_s=0.0,
                image_png=file.getvalue(),
            )
        )  # fmt: skip
    return made


def reference_cosines(folder: Path, prompts: list[str]) -> list[float]:
    """The same number by transformers' own forward pass, one pair at a time."""
    import torch
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model: Any = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    cosines = []
    for prompt, colour in zip(prompts, COLOURS, strict=False):
        tokens = tokenizer([prompt], truncation=True, max_length=48, return_tensors="pt")
        pixels = processor(images=[picture(colour)], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            out = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
        cosines.append(float((out.image_embeds * out.text_embeds).sum()))
    return cosines


def test_alignment_is_the_cosine_that_the_model_itself_gives(clip_folder: Path) -> None:
    scorer = make_scorer(ScorerChoice.parse(f"clip-alignment:folder={clip_folder}"))
    found = [score.value for score in scorer.score(samples())]
    expected = [max(0.0, cosine) for cosine in reference_cosines(clip_folder, PROMPTS)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert max(expected) > 0


def test_a_batch_and_one_by_one_agree(clip_folder: Path) -> None:
    clip = ClipModel(clip_folder)
    together = clip.embed_texts(PROMPTS)
    alone = np.concatenate([clip.embed_texts([prompt]) for prompt in PROMPTS])
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(np.linalg.norm(clip.embed_pictures([picture("red")]), axis=1), 1.0)


def test_a_picture_that_is_none_has_no_data_and_the_rest_is_scored(clip_folder: Path) -> None:
    asked = samples()
    asked[1] = asked[1].model_copy(update={"image_png": b"no picture"})
    found = make_scorer(ScorerChoice.parse(f"clip-alignment:folder={clip_folder}")).score(asked)
    assert [score.value is None for score in found] == [False, True, False, False]


def test_other_weights_are_another_digest(clip_folder: Path, tmp_path: Path) -> None:
    other = ClipModel(save_clip(tmp_path / "other", seed=1))
    assert other.digest != ClipModel(clip_folder).digest
    assert ClipModel(clip_folder).digest == ClipModel(clip_folder).digest


def test_pickled_weights_and_code_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(NotPermitted, match="pickled"):
        ClipModel(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("{", '{"auto_map": {"AutoModel": "evil.Model"},', 1))
    with pytest.raises(NotPermitted, match="auto_map"):
        ClipModel(folder)
    (folder / "tokenizer.json").unlink()
    config.unlink()
    with pytest.raises(InvalidInput, match=r"config\.json"):
        ClipModel(folder)


def test_a_classifier_gives_the_mass_on_the_unsafe_labels(classifier_folder: Path) -> None:
    pictures = [picture(colour) for colour in COLOURS]
    one = FolderClassifier(classifier_folder, ["nsfw"]).unsafe_probabilities(pictures)
    both = FolderClassifier(classifier_folder, ["nsfw", "violence"]).unsafe_probabilities(pictures)
    every = FolderClassifier(classifier_folder, ["nsfw", "violence", "safe"]).unsafe_probabilities(pictures)
    assert every == pytest.approx([1.0] * 4)
    assert all(0 < a < b < 1 for a, b in zip(one, both, strict=True))
    scorer = make_scorer(ScorerChoice.parse(f"safety-classifier:folder={classifier_folder},unsafe=nsfw+violence"))
    assert [score.value for score in scorer.score(samples())] == pytest.approx([1 - unsafe for unsafe in both])


def test_an_unknown_label_is_no_data_with_the_labels_there_are(classifier_folder: Path) -> None:
    scorer = make_scorer(ScorerChoice.parse(f"safety-classifier:folder={classifier_folder},unsafe=gore"))
    (found,) = scorer.score(samples(["a"]))
    assert found.value is None
    assert "gore" in found.reason


def test_concepts_are_weighed_against_plain_words(clip_folder: Path) -> None:
    clip = ClipModel(clip_folder)
    pictures = [picture(colour) for colour in COLOURS]
    found = ConceptClassifier(clip, ["blood", "a knife"]).unsafe_probabilities(pictures)
    assert all(0 <= p <= 1 for p in found)
    more = ConceptClassifier(clip, ["blood", "a knife", "a gun"]).unsafe_probabilities(pictures)
    assert all(a <= b for a, b in zip(found, more, strict=True))
    assert ConceptClassifier(clip, ["blood"]).digest != ConceptClassifier(clip, ["a gun"]).digest
    # A concept that is one of the plain words weighs as much as it does: never more than the rest together.
    same = ConceptClassifier(clip, ["a photo"]).unsafe_probabilities(pictures)
    assert all(p <= 0.5 + 1e-9 for p in same)
