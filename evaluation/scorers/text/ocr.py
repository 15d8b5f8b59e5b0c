"""Reading pictures with Tesseract, in this process, by a ladder of preparations."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageFilter, ImageOps

from contracts.errors import Unavailable

TESSDATA_FOLDERS: Final = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)
SMALLEST_SIDE: Final = 256
"""Pictures with a shorter side are enlarged first: Tesseract wants letters of twenty pixels."""

LARGEST_SIDE: Final = 2048
HINT: Final = "apt-get install tesseract-ocr, or name the folder of *.traineddata in TESSDATA_PREFIX"


@dataclass(frozen=True, slots=True)
class TextReading:
    """Lines read from one picture and the reader's mean confidence in [0, 1]; ``rung`` is the preparation used."""

    lines: tuple[str, ...]
    confidence: float
    rung: int


def _as_it_is(picture: Image.Image) -> Image.Image:
    return picture


def _calm(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.MedianFilter(5))


def _halve(picture: Image.Image) -> Image.Image:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BOX)


OTSU, SAUVOLA = "0", "2"
LADDER: Final[tuple[tuple[Callable[[Image.Image], Image.Image], str], ...]] = (
    (_as_it_is, OTSU),
    (_calm, SAUVOLA),
    (_halve, OTSU),
)
"""Preparations in order: plain; median of 5 and Sauvola's threshold (gradients, textures, noise); half size (noise)."""


def find_tessdata(language: str = "eng") -> Path:
    """Return the folder that holds a language's data: ``TESSDATA_PREFIX``, else where systems put it.

    Raises:
        Unavailable: when there is none, with what to install.
    """
    named = os.environ.get("TESSDATA_PREFIX")
    folders = [Path(named), Path(named) / "tessdata"] if named else [Path(folder) for folder in TESSDATA_FOLDERS]
    for folder in folders:
        if (folder / f"{language}.traineddata").is_file():
            return folder
    where = f" in {named} (TESSDATA_PREFIX)" if named else ""
    raise Unavailable(f"Tesseract's data for {language!r} are not found{where}", hint=HINT)


class OcrReader:
    """Reads text from pictures; one reader holds one Tesseract, which one thread uses at a time."""

    def __init__(self, language: str = "eng") -> None:
        # Tesseract's threads cost more than they bring on pictures of one line.
        os.environ.setdefault("OMP_THREAD_LIMIT", "1")
        try:
            import tesserocr
        except ImportError as error:
            raise Unavailable(f"the OCR reader can't be loaded: {error}", hint="pip install 'roost[ocr]'") from None
        self._tessdata, self._language = find_tessdata(language), language
        try:
            self._api: Any = tesserocr.PyTessBaseAPI(
                path=str(self._tessdata), lang=language, psm=tesserocr.PSM.SPARSE_TEXT
            )
        except RuntimeError as error:
            raise Unavailable(f"Tesseract can't be started: {error}", hint=HINT) from None
        self._version = str(tesserocr.tesseract_version()).splitlines()[0]
        self._lock = threading.Lock()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over Tesseract's version, the language's data and the code that prepares and compares."""
        content = hashlib.sha256(f"{self._version} {self._language}".encode())
        content.update((self._tessdata / f"{self._language}.traineddata").read_bytes())
        for name in ("ocr.py", "agreement.py", "asked.py"):
            content.update(Path(__file__).with_name(name).read_bytes())
        return f"sha256:{content.hexdigest()}"

    def read(self, picture: Image.Image, is_enough: Callable[[Sequence[str]], bool]) -> list[TextReading]:
        """Return one reading for each rung climbed; the climb ends with the first that ``is_enough``."""
        base = prepare(picture)
        readings: list[TextReading] = []
        with self._lock:
            for rung, (change, threshold) in enumerate(LADDER):
                readings.append(self._read_once(change(base), threshold, rung))
                if is_enough(readings[-1].lines):
                    break
        return readings

    def _read_once(self, picture: Image.Image, threshold: str, rung: int) -> TextReading:
        self._api.SetVariable("thresholding_method", threshold)
        self._api.SetImage(picture)
        text = self._api.GetUTF8Text()
        lines = tuple(line.strip() for line in text.splitlines() if line.strip())
        confidence = self._api.MeanTextConf() / 100 if lines else 0.0
        self._api.Clear()
        return TextReading(lines, confidence, rung)


def prepare(picture: Image.Image) -> Image.Image:
    """Return a grey picture whose sides suit Tesseract; transparency is laid on white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        picture = Image.alpha_composite(white, rgba)
    grey = ImageOps.grayscale(picture)
    scale = max(1.0, SMALLEST_SIDE / min(grey.size))
    scale = min(scale, LARGEST_SIDE / max(grey.size)) if max(grey.size) * scale > LARGEST_SIDE else scale
    if scale == 1.0:
        return grey
    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    return grey.resize(size, Image.Resampling.BICUBIC)
