"""How quantities are written (``99.5%``, ``400ms``, ``22GiB``), read and shown; needs no library at all."""

import math
import re
from decimal import Decimal, InvalidOperation

from contracts.errors import InvalidInput

SECONDS_PER_UNIT = {
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
BYTES_PER_UNIT = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
NUMBER = r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
DURATION_PART = re.compile(rf"({NUMBER})(us|ms|s|m|h|d|w)")
DURATION = re.compile(rf"(?:{NUMBER}(?:us|ms|s|m|h|d|w))+")
BYTES = re.compile(rf"({NUMBER}) ?({'|'.join(BYTES_PER_UNIT)})")
LONGEST_TEXT = 40


def parse_duration_s(text: str) -> float:
    """Return the seconds that ``text`` (``400ms``, ``1h30m``, ``28d``) stands for.

    Raises:
        InvalidInput: when it isn't a number with a unit of us, ms, s, m, h, d or w.
    """
    compact = text.strip()
    if len(compact) > LONGEST_TEXT or not DURATION.fullmatch(compact):
        raise InvalidInput(f"{text!r} is not a duration", hint="write a number with its unit: 400ms, 10s, 4h, 28d")
    parts = DURATION_PART.findall(compact)
    return _finite(sum((Decimal(n) * SECONDS_PER_UNIT[unit] for n, unit in parts), Decimal(0)), text)


def parse_fraction(value: str | float) -> float:
    """Return the share in [0, 1] that ``99.5%`` or ``0.995`` stands for.

    Raises:
        InvalidInput: when it lies outside [0, 1]; a bare 5 is refused, for it may mean 5 % or 500 %.
    """
    hint = "write a percentage such as 99.5%, or a number from 0 to 1"
    text = str(value).strip()
    try:
        share = Decimal(text[:-1]) / 100 if text.endswith("%") else Decimal(text)
    except InvalidOperation:
        raise InvalidInput(f"{value!r} is not a percentage", hint=hint) from None
    if not share.is_finite() or not 0 <= share <= 1:
        raise InvalidInput(f"{value!r} is not between 0 % and 100 %", hint=hint)
    return float(share)


def parse_bytes(value: str | float) -> int:
    """Return the bytes that ``22GiB``, ``500MB`` or a plain whole number of bytes stands for.

    Raises:
        InvalidInput: when the unit is unknown or the size isn't a whole number of bytes.
    """
    hint = "write a size such as 512MiB or 22GiB"
    if not isinstance(value, str):
        if value < 0 or (isinstance(value, float) and not value.is_integer()):
            raise InvalidInput(f"{value!r} is not a whole number of bytes", hint=hint)
        return int(value)
    match = BYTES.fullmatch(value.strip()) if len(value) <= LONGEST_TEXT else None
    if match is None:
        raise InvalidInput(f"{value!r} is not a size in bytes", hint=hint)
    size = Decimal(match[1]) * BYTES_PER_UNIT[match[2]]
    if _finite(size, value) > 2**62 or size != size.to_integral_value():
        raise InvalidInput(f"{value!r} is not a whole number of bytes below 4 EiB", hint=hint)
    return int(size)


def format_duration(duration_s: float) -> str:
    """Return a duration for people: two leading units (``1h30m``, ``2m5s``), milliseconds below a second."""
    if duration_s < 0:
        return "-" + format_duration(-duration_s)
    if duration_s < 1:
        return f"{duration_s * 1000:.3g}ms" if duration_s else "0s"
    if duration_s < 10:
        return f"{duration_s:.3g}s"
    left, shown = round(duration_s), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            shown.append(f"{count}{unit}")
        elif shown:
            break
    return "".join(shown[:2])


def format_fraction(share: float, digits: int = 3) -> str:
    """Return a share as a percentage with a thin space (``1.82 %``), to ``digits`` significant digits."""
    percent = share * 100
    near_whole = 100 - percent if 99 < percent < 100 else percent
    decimals = 0
    while near_whole and near_whole * 10**decimals < 10 ** (digits - 1) and decimals < 6:
        decimals += 1
    text = f"{percent:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def format_bytes(size_bytes: int) -> str:
    """Return a size in binary units (``4.3 MiB``)."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if size < 999.5 else f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def format_evidence(number: float) -> str:
    """Return evidence for people: three digits, powers of ten from a million on."""
    if number >= 1e6:
        exponent = math.floor(math.log10(number)) if math.isfinite(number) else 308
        return f"10^{exponent}"
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _finite(number: Decimal, text: str) -> float:
    value = float(number)
    if value > 1e18:
        raise InvalidInput(f"{text!r} is too large", hint="check the unit")
    return value
