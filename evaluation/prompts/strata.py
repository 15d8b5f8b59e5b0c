"""Classes of prompts: by length, by language, by what they mention. Plain rules that anybody can check."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

SHORT_BELOW = 6
LONG_FROM = 21
WORD = re.compile(r"\w+")
UNKNOWN = "und"
SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "und-Cyrl",
    "ARABIC": "und-Arab",
    "HEBREW": "he",
    "GREEK": "el",
    "THAI": "th",
    "DEVANAGARI": "und-Deva",
}
STOP_WORDS = {
    "en": "the a an and of in on with for at to is are by from over under into near its his her this that",
    "de": "der die das und ein eine einer mit auf von im zu den dem ist für aus bei nicht vor über unter",
    "fr": "le la les et un une des avec sur dans de du en est pour aux qui par sous près",
    "es": "el la los las y un una con sobre en de del es para por al junto bajo",
    "it": "il lo la gli e un una con su nel della di del è per alla sotto vicino",
    "pt": "o os a as e um uma com sobre em de do da é para no na sob perto",
    "nl": "de het een en met op van in is voor aan bij niet onder naast",
}
STOP_SETS = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}


def classify_length(text: str) -> str:
    """Return ``short`` (up to 5 words), ``medium`` (to 20) or ``long``, counted as lanes count: between white space."""
    words = len(text.split())
    if words < SHORT_BELOW:
        return "short"
    return "long" if words >= LONG_FROM else "medium"


def detect_language(text: str) -> str:
    """Return a language tag, ``und`` when it can't be told.

    A script that one language writes decides (kana before Han: Japanese is written in both). Latin script is told by
    the most stop words, at least one, and by no tie. It is a rule for strata, not a linguist: a prompt without stop
    words is ``und``.
    """
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    scripts.pop("", None)
    if not scripts:
        return UNKNOWN
    if scripts["HIRAGANA"] or scripts["KATAKANA"]:
        return "ja"
    script = scripts.most_common(1)[0][0]
    if script in SCRIPTS:
        return SCRIPTS[script]
    if script != "LATIN":
        return UNKNOWN
    words = WORD.findall(text.lower())
    found = Counter({language: sum(word in stop for word in words) for language, stop in STOP_SETS.items()})
    (first, hits), (_, next_hits) = found.most_common(2)
    return first if hits > next_hits else UNKNOWN


def find_mentions(text: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return those ``words`` that stand in the text as whole words, in any case, sorted."""
    lowered = text.casefold()
    return tuple(sorted({w for w in words if re.search(rf"(?<!\w){re.escape(w.casefold())}(?!\w)", lowered)}))


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
