"""Provenance inside pictures: readable by any PNG reader, pixels untouched."""

import io
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.gateway.provenance import mark_png


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@given(
    st.dictionaries(
        st.text(max_size=10), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=50)), max_size=6
    )
)
def test_facts_are_read_back_and_pixels_are_the_same(facts: dict[str, str | int | None]) -> None:
    plain = png(1)
    with Image.open(io.BytesIO(mark_png(plain, facts))) as marked, Image.open(io.BytesIO(plain)) as original:
        marked.load()
        assert json.loads(marked.text["roost"]) == facts  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(marked), np.asarray(original))


@given(st.binary(max_size=60))
def test_what_is_no_picture_is_passed_on(content: bytes) -> None:
    assert mark_png(content, {"version": "m@1"}) == content
