"""The kinds of scorers by name: those that come with Roost, and those that others installed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from contracts.errors import InvalidInput, Unavailable
from evaluation.scorers.careful import CarefulScorer
from evaluation.scorers.isolated import IsolatedScorer
from evaluation.scorers.port import Scorer

GROUP: Final = "roost.scorers"
Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ScorerKind:
    """A kind of scorer: its name, what its score means, how to make one, what it needs.

    ``options`` tells each option's meaning; ``make`` gets those given, as text. ``is_pure`` holds when a score depends
    on prompt and picture alone, so that it may be cached.
    """

    name: str
    meaning: str
    make: Callable[[Options], Scorer]
    options: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    needs: str = ""
    is_pure: bool = True


@dataclass(frozen=True, slots=True)
class ScorerChoice:
    """A scorer as a person names it: ``clip-alignment:folder=models/clip``."""

    kind: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ScorerChoice":
        """Read ``KIND`` or ``KIND:OPTION=VALUE,OPTION=VALUE``.

        Raises:
            InvalidInput: when an option has no value.
        """
        kind, _, rest = text.partition(":")
        options = []
        for part in rest.split(",") if rest else ():
            key, equals, value = part.partition("=")
            if not equals or not key:
                raise InvalidInput(f"scorer: {part!r} in {text!r} is no option", hint="write KIND:OPTION=VALUE")
            options.append((key.strip(), value.strip()))
        return cls(kind.strip(), tuple(sorted(options)))


@dataclass(frozen=True, slots=True)
class Kinds:
    """All kinds by name; ``broken`` says why an installed one can't be used."""

    by_name: Mapping[str, ScorerKind]
    broken: Mapping[str, str]

    def find(self, name: str) -> ScorerKind:
        """Return a kind.

        Raises:
            InvalidInput: for an unknown name, with those there are.
            Unavailable: for one that is installed and broken.
        """
        if name in self.broken:
            raise Unavailable(f"the scorer {name!r} is broken: {self.broken[name]}", hint="mend its package")
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name))
            raise InvalidInput(f"scorer: there is none called {name!r}", hint=f"known: {known}")
        return self.by_name[name]


def find_kinds() -> Kinds:
    """Return Roost's kinds and those of the entry-point group ``roost.scorers``; one can't take another's name."""
    known = {kind.name: kind for kind in BUILT_IN}
    broken: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        try:
            kind = point.load()
        except Exception as error:  # noqa: BLE001 - a broken package must not take the other scorers along
            broken[point.name] = f"{type(error).__name__}: {error}"
            continue
        if not isinstance(kind, ScorerKind):
            broken[point.name] = f"{point.value} is no ScorerKind"
        elif kind.name != point.name:
            broken[point.name] = f"its entry point is called {point.name!r} and its kind {kind.name!r}"
        elif kind.name in known:
            broken[f"{point.value}"] = f"there is a scorer {kind.name!r} already"
        else:
            known[kind.name] = kind
    return Kinds(known, broken)


def find_chosen(choice: ScorerChoice, kinds: Kinds) -> ScorerKind:
    """Return the kind that was chosen, its options checked by name.

    Raises:
        InvalidInput: for an unknown kind or option, or when a required option is missing.
        Unavailable: when the kind is installed and broken.
    """
    kind = kinds.find(choice.kind)
    options = dict(choice.options)
    for name in options:
        if name not in kind.options:
            known = ", ".join(kind.options) or "none"
            raise InvalidInput(f"scorer {kind.name}: there is no option {name!r}", hint=f"options: {known}")
    for name in kind.required:
        if name not in options:
            raise InvalidInput(
                f"scorer {kind.name}: {name} is missing ({kind.options[name]})", hint=f"write {kind.name}:{name}=…"
            )
    return kind


def make_scorer(choice: ScorerChoice, kinds: Kinds | None = None) -> Scorer:
    """Make the scorer that was chosen, wrapped so that a failure is no data.

    Raises:
        InvalidInput: for an unknown kind or option, or when a required option is missing.
        Unavailable: when what it needs isn't there.
    """
    kind = find_chosen(choice, kinds or find_kinds())
    return CarefulScorer(kind.make(dict(choice.options)))


def make_guarded(choice: ScorerChoice, kinds: Kinds) -> Scorer:
    """Make the scorer that was chosen; one that others installed runs in a process of its own, with a time limit.

    Raises:
        InvalidInput: as ``make_scorer`` does.
        Unavailable: when what it needs isn't there; an installed one tells that when it is first asked.
    """
    kind = find_chosen(choice, kinds)
    return make_scorer(choice, kinds) if kind in BUILT_IN else IsolatedScorer(kind.name, partial(make_scorer, choice))


def _tag_text(_: Options) -> Scorer:
    from evaluation.scorers.price_tags import TagTextScorer

    return TagTextScorer()


def _tag_colours(_: Options) -> Scorer:
    from evaluation.scorers.price_tags import TagColourScorer

    return TagColourScorer()


def _ocr(options: Options, measure: str) -> Scorer:
    from evaluation.scorers.text.scorer import MEASURES, OcrScorer, share_desk

    desk = share_desk(options.get("language", "eng"))
    return OcrScorer(next(known for known in MEASURES if known == measure), desk)


def _alignment(options: Options) -> Scorer:
    from evaluation.scorers.alignment import AlignmentScorer
    from evaluation.scorers.clip import ClipModel

    return AlignmentScorer(ClipModel(Path(options["folder"])))


def _sound(options: Options) -> Scorer:
    from evaluation.scorers.images import Expectation, SoundPictureScorer, calibrate
    from evaluation.scorers.pictures_folder import read_pictures

    try:
        sides = {name: int(options[name]) for name in ("width", "height") if name in options}
        aspect = float(options["aspect"]) if "aspect" in options else None
    except ValueError as error:
        raise InvalidInput(f"scorer image-sound: {error}", hint="width=512,height=512 or aspect=1.5") from None
    usual = calibrate(read_pictures(Path(options["like"]))).ranges if "like" in options else ()
    return SoundPictureScorer(Expectation(sides.get("width"), sides.get("height"), aspect, usual))


def _unique(_: Options) -> Scorer:
    from evaluation.scorers.duplicates import UniquePictureScorer

    return UniquePictureScorer()


def _safety_words(options: Options) -> Scorer:
    from evaluation.scorers.safety import DenyListScorer

    return DenyListScorer.from_file(Path(options["file"]))


def _safety_classifier(options: Options) -> Scorer:
    from evaluation.scorers.safety import FolderClassifier, SafetyScorer

    return SafetyScorer("safety-classifier", FolderClassifier(Path(options["folder"]), _several(options["unsafe"])))


def _safety_concepts(options: Options) -> Scorer:
    from evaluation.scorers.clip import ClipModel
    from evaluation.scorers.safety import ConceptClassifier, SafetyScorer

    clip = ClipModel(Path(options["folder"]))
    return SafetyScorer("safety-concepts", ConceptClassifier(clip, _several(options["concepts"])))


def _several(text: str) -> list[str]:
    return [part.strip() for part in text.split("+") if part.strip()]


OCR_NEEDS: Final = "roost[ocr] and Tesseract's data (Debian: tesseract-ocr)"
OCR_OPTIONS: Final = {"language": "Tesseract's name of the language; eng by default"}
CLIP_OPTION: Final = {"folder": "a local CLIP folder with safetensors"}

BUILT_IN: Final = (
    ScorerKind("text-accuracy", "price tags: 1 when all digits are as asked, else 0", _tag_text),
    ScorerKind("tag-colours", "price tags: share of ink and paper that are as asked", _tag_colours),
    ScorerKind(
        "ocr-words",
        "share of the words quoted in the prompt that are read in the picture",
        lambda options: _ocr(options, "words"),
        OCR_OPTIONS,
        needs=OCR_NEEDS,
    ),
    ScorerKind(
        "ocr-lines",
        "share of the texts quoted in the prompt that are a line of the picture, word for word",
        lambda options: _ocr(options, "lines"),
        OCR_OPTIONS,
        needs=OCR_NEEDS,
    ),
    ScorerKind(
        "ocr-edits",
        "one minus the normalised edit distance of the quoted texts to the lines read",
        lambda options: _ocr(options, "edits"),
        OCR_OPTIONS,
        needs=OCR_NEEDS,
    ),
    ScorerKind(
        "clip-alignment",
        "cosine of picture and prompt in CLIP's space, clipped at 0",
        _alignment,
        CLIP_OPTION,
        ("folder",),
        "a CLIP folder",
    ),
    ScorerKind(
        "image-sound",
        "1 unless the picture can't be decoded, is blank, has not the size or aspect wanted, or is unlike the usual",
        _sound,
        {
            "width": "in pixels",
            "height": "in pixels",
            "aspect": "width divided by height",
            "like": "a folder of 50 sound pictures or more: their sharpness, noise, brightness and spread are usual",
        },
    ),
    ScorerKind(
        "image-unique",
        "0 when nearly the same picture was given before for another prompt, else 1",
        _unique,
        is_pure=False,
    ),
    ScorerKind(
        "safety-words",
        "0 when the prompt holds a denied word, else 1",
        _safety_words,
        {"file": "one word or phrase a line"},
        ("file",),
    ),
    ScorerKind(
        "safety-classifier",
        "one minus the probability that an image classifier gives to the unsafe labels",
        _safety_classifier,
        {"folder": "a local image-classification folder with safetensors", "unsafe": "labels joined by +"},
        ("folder", "unsafe"),
        "a classifier's folder",
    ),
    ScorerKind(
        "safety-concepts",
        "one minus the mass that CLIP gives to the concepts, beside plain words",
        _safety_concepts,
        CLIP_OPTION | {"concepts": "texts joined by +"},
        ("folder", "concepts"),
        "a CLIP folder",
    ),
)
