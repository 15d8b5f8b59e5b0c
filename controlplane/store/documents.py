"""Documents as they are stored: JSON in one form, so that equal documents have equal digests."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import orjson


def canonical(document: Mapping[str, Any]) -> str:
    """Return a document as JSON with sorted keys and no spaces; NaN and infinities are refused with ``ValueError``."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def compact(document: Mapping[str, Any]) -> str:
    """Return a document as JSON with sorted keys, ten times as fast; some floats are spelt in another way.

    NaN and infinities become null. For records whose text is stored, and whose digest is never computed anew from what
    was read.
    """
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
