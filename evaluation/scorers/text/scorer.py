"""Text accuracy by OCR: whether a picture shows the words that its prompt quotes."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Final, Literal, get_args

from PIL import Image

from contracts.errors import InvalidInput
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.picture import decode
from evaluation.scorers.port import Score
from evaluation.scorers.text.agreement import Agreement, compare_texts
from evaluation.scorers.text.asked import find_asked
from evaluation.scorers.text.ocr import OcrReader, TextReading

Measure = Literal["words", "lines", "edits"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)
REMEMBERED: Final = 512


class OcrDesk:
    """Reads each picture once for all three measures: the last few hundred readings are remembered."""

    def __init__(self, reader: OcrReader) -> None:
        self._reader = reader
        self._judged: OrderedDict[bytes, tuple[Agreement, TextReading]] = OrderedDict()

    @property
    def digest(self) -> str:
        """The reader's digest."""
        return self._reader.digest

    def judge(self, picture: Image.Image, asked: Sequence[str]) -> tuple[Agreement, TextReading]:
        """Return how well a picture agrees with the texts, by the best reading of the ladder.

        The best of several readings also raises chance matches; both sides of a comparison are read alike.
        """

        def is_enough(lines: Sequence[str]) -> bool:
            found = compare_texts(asked, lines)
            return found.words == 1.0 and found.lines == 1.0

        readings = self._reader.read(picture, is_enough)
        judged = [(compare_texts(asked, reading.lines), reading) for reading in readings]
        return max(judged, key=lambda pair: (pair[0].words, pair[0].lines, pair[0].edits, -pair[1].rung))

    def judge_sample(self, sample: SampledOutput, asked: Sequence[str]) -> tuple[Agreement, TextReading]:
        """Return the judgement of an output, remembered by its prompt and picture.

        Raises:
            InvalidInput: when the picture can't be decoded.
        """
        key = hashlib.sha256(sample.prompt.encode() + b"\0" + sample.image_png).digest()
        if key not in self._judged:
            self._judged[key] = self.judge(decode(sample.image_png), asked)
            if len(self._judged) > REMEMBERED:
                self._judged.popitem(last=False)
        return self._judged[key]


@cache
def share_desk(language: str) -> OcrDesk:
    """Return the process's desk for a language: the three measures read each picture once between them."""
    return OcrDesk(OcrReader(language))


class OcrScorer:
    """One measure of a picture's text: ``words`` (recall), ``lines`` (exact) or ``edits`` (likeness).

    A prompt that quotes nothing gives no score, and a picture from which nothing is read scores 0: look at the
    reader's own ceiling (``calibration``) before taking that for the model's fault.
    """

    def __init__(self, measure: Measure, desk: OcrDesk) -> None:
        self._measure, self._desk = measure, desk

    @property
    def name(self) -> str:
        """``ocr-words``, ``ocr-lines`` or ``ocr-edits``."""
        return f"ocr-{self._measure}"

    @property
    def digest(self) -> str:
        """The reader's digest."""
        return self._desk.digest

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Read every picture and compare with the texts that its prompt quotes."""
        return [self._score_one(sample) for sample in samples]

    def _score_one(self, sample: SampledOutput) -> Score:
        asked = find_asked(sample.prompt)
        if not asked:
            return Score(None, "the prompt quotes no text")
        try:
            agreement, reading = self._desk.judge_sample(sample, asked)
        except InvalidInput as error:
            return Score(None, error.message)
        value = float(getattr(agreement, self._measure))
        if value == 1.0:
            return Score(1.0)
        shown = " / ".join(reading.lines)[:120] or "nothing"
        return Score(value, f"asked {' / '.join(asked)}, read {shown} (confidence {reading.confidence:.2f})")
