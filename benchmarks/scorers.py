"""What scoring costs: CPU time per picture of each scorer, and OCR in this process beside a process for every picture.

    python -m benchmarks.scorers --out build/bench-evaluation

Times are CPU times of one thread, so that a busy machine changes them little; ratios are taken within the run.
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_THREAD_LIMIT"] = "1"

import numpy as np
from PIL import Image

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.price_tags.grammar import figure_prompts, parse_prompt
from evaluation.price_tags.render import draw_tags
from evaluation.scorers.cache import CachedScorer, ScoreCache
from evaluation.scorers.duplicates import UniquePictureScorer
from evaluation.scorers.images import SoundPictureScorer
from evaluation.scorers.port import Scorer
from evaluation.scorers.price_tags import TagColourScorer, TagTextScorer
from evaluation.scorers.text.calibration import draw_known
from evaluation.scorers.text.ocr import OcrReader, find_tessdata
from evaluation.scorers.text.scorer import OcrDesk, OcrScorer

TAGS, POSTERS = 256, 24


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench-evaluation"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tags, posters = draw_tag_samples(), draw_poster_samples()
    figures = {
        f"{scorer.name}, 64×32": measure(scorer, tags)
        for scorer in (TagTextScorer(), TagColourScorer(), SoundPictureScorer(), UniquePictureScorer())
    }
    figures["image-sound, 512×512"] = measure(SoundPictureScorer(), posters)
    with tempfile.TemporaryDirectory() as folder, ScoreCache(Path(folder) / "scores.db") as cache:
        cached = CachedScorer(TagTextScorer(), cache)
        cached.score(tags)
        figures["text-accuracy, from the cache"] = measure(cached, tags)
    figures |= measure_ocr(posters)
    for name, cost_s in figures.items():
        print(f"{name:<44} {1000 * cost_s:8.2f} ms CPU a picture")
    inside, outside = (figures.get(f"ocr, 512×512, {how}") for how in ("in this process", "a process each"))
    if inside and outside:
        print(f"a process for every picture costs {outside / inside:.1f} times as much")
    (out / "scorers.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))


def measure(scorer: Scorer, samples: Sequence[SampledOutput]) -> float:
    """Return the CPU seconds that a scorer needs for one sample, after a first one."""
    scorer.score(samples[:1])
    return spend(lambda: scorer.score(samples)) / len(samples)


def measure_ocr(posters: Sequence[SampledOutput]) -> dict[str, float]:
    """Return the cost of OCR in this process, and by starting ``tesseract`` for each picture, as pytesseract does."""
    try:
        desk = OcrDesk(OcrReader())
    except Unavailable as error:
        print(f"ocr: {error.message}")
        return {}
    figures = {"ocr, 512×512, in this process": measure(OcrScorer("words", desk), posters)}
    command = shutil.which("tesseract")
    if command is None:
        print("ocr: the command tesseract is not installed, no peer to compare with")
        return figures
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for k, sample in enumerate(posters):
            files.append(Path(folder) / f"{k}.png")
            files[-1].write_bytes(sample.image_png)
        options = ["--psm", "11", "--tessdata-dir", str(find_tessdata())]

        def read_all() -> None:
            for file in files:
                subprocess.run([command, str(file), "-", *options], capture_output=True, check=True)

        figures["ocr, 512×512, a process each"] = spend(read_all) / len(files)
    return figures


def spend(act: Callable[[], object]) -> float:
    """Return the CPU seconds of this process and of the children that it waited for."""
    before = _cpu_s()
    act()
    return _cpu_s() - before


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def draw_tag_samples() -> list[SampledOutput]:
    """Draw real tags as the demo's prompts ask."""
    prompts = figure_prompts(TAGS)
    asked = [text for prompt in prompts if (text := parse_prompt(prompt)) is not None]
    pictures = draw_tags(asked, "test", np.random.default_rng(0))
    return [as_sample(prompt, Image.fromarray(picture)) for prompt, picture in zip(prompts, pictures, strict=True)]


def draw_poster_samples() -> list[SampledOutput]:
    """Draw posters that a plain reader can read: both ways of reading climb no ladder."""
    return [as_sample(f"a poster that says '{text}'", picture) for text, picture in draw_known("plain", POSTERS)]


def as_sample(prompt: str, picture: Image.Image) -> SampledOutput:
    """Wrap a picture as an output."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return SampledOutput(
        service="bench", version=VersionId("m", 1), request_id="r", lane="x", prompt=prompt, seed=0, at_s=0.0,
        image_png=file.getvalue(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
