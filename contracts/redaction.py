"""Redaction: what could name a person is taken out of a prompt before it is kept or shown."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without personal data; ``removed`` says of each kind how many were taken out."""

    text: str
    removed: dict[str, int] = field(default_factory=dict)


def redact(text: str) -> Redacted:
    """Replace e-mail addresses, telephone, card and account numbers, IP addresses, secrets by ``[kind]``.

    Numbers are taken for a card (Luhn) or an account (IBAN, mod 97) only when their check digits are right, and for a
    telephone only with a leading ``+``, or ten digits and more in groups. Names of people are not found: no rule
    tells them from brands.
    """
    removed: dict[str, int] = {}
    for kind, pattern, is_meant in RULES:

        def take_out(match: re.Match[str], kind: str = kind, is_meant: Callable[[str], bool] = is_meant) -> str:
            if not is_meant(match[0]):
                return match[0]
            removed[kind] = removed.get(kind, 0) + 1
            return f"[{kind}]"

        text = pattern.sub(take_out, text)
    return Redacted(text, removed)


def _digits(text: str) -> list[int]:
    return [int(sign) for sign in text if sign.isascii() and sign.isdigit()]


def passes_luhn(text: str) -> bool:
    """Tell whether the digits of a text are a card number: 13 to 19 of them, the check digit right (ISO/IEC 7812)."""
    digits = _digits(text)
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def passes_iban(text: str) -> bool:
    """Tell whether a text is an IBAN: the remainder by 97 is one (ISO 13616)."""
    compact = "".join(text.split()).upper()
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1


def _looks_like_telephone(text: str) -> bool:
    n = len(_digits(text))
    return 7 <= n <= 15 if text.startswith("+") else 10 <= n <= 15


def _is_ip_address(text: str) -> bool:
    return all(int(part) <= 255 for part in text.split("."))


def _always(_: str) -> bool:
    return True


RULES: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("url", re.compile(r"\bhttps?://[^\s/@]+:[^\s/@]+@\S+"), _always),
    ("email", re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"), _always),
    (
        "secret",
        re.compile(
            r"\b(?:sk|pk|rk|ghp|gho|github_pat|glpat|xox[abp])[-_][A-Za-z0-9_-]{16,}"
            r"|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]+\.[\w-]+\.[\w-]+"
        ),
        _always,
    ),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), passes_iban),
    ("card", re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?!\w)"), passes_luhn),
    ("ip", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)"), _is_ip_address),
    ("ssn", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), _always),
    (
        "phone",
        re.compile(r"(?<!\w)(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?)?\d{2,5}(?:[ ./-]?\d{2,5}){1,5}(?!\w)"),
        _looks_like_telephone,
    ),
)
"""Kinds in the order in which they are looked for: the more certain first."""
