"""Versions side by side: the front is what nobody beats, and the chart says it without colour."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.profile.chart import draw_chart
from registry.profile.compare import Contender, mark_front

FIGURE = st.one_of(st.none(), st.floats(0.01, 100.0))
CONTENDERS = st.lists(
    st.builds(
        Contender,
        name=st.text(st.characters(codec="utf-8", categories=("L", "P", "S")), min_size=1, max_size=12),
        p95_s=FIGURE,
        quality=st.one_of(st.none(), st.floats(0.0, 1.0)),
        memory_bytes=st.one_of(st.none(), st.floats(1e6, 1e10)),
        cost_per_1k=FIGURE,
    ),
    max_size=8,
)


def test_who_is_beaten_in_everything_is_not_on_the_front() -> None:
    found = mark_front([
        Contender("fast", 0.1, 0.90, memory_bytes=1e9),
        Contender("good", 0.3, 0.99, memory_bytes=1e9),
        Contender("beaten", 0.3, 0.95, memory_bytes=1e9),
        Contender("beaten but small", 0.3, 0.95, memory_bytes=5e8),
        Contender("unmeasured", None, None),
    ])  # fmt: skip
    assert [one.name for one in found if one.on_front] == ["fast", "good", "beaten but small"]


def test_what_an_allocator_may_differ_by_puts_nobody_on_the_front() -> None:
    found = mark_front([Contender("a", 0.1, 0.9, memory_bytes=5.12e8), Contender("b", 0.2, 0.9, memory_bytes=5.11e8)])
    assert [one.on_front for one in found] == [True, False]


@given(contenders=CONTENDERS)
def test_with_all_figures_known_somebody_is_on_the_front_and_nobody_there_is_beaten(
    contenders: list[Contender],
) -> None:
    whole = [one for one in contenders if None not in {one.p95_s, one.quality, one.memory_bytes, one.cost_per_1k}]
    marked = mark_front(whole)
    assert any(one.on_front for one in marked) or not whole
    for one in (one for one in marked if one.on_front):
        for other in marked:
            better = (
                (other.p95_s or 0) < (one.p95_s or 0)
                and (other.quality or 0) > (one.quality or 0)
                and (other.memory_bytes or 0) < (one.memory_bytes or 0) * 0.98
                and (other.cost_per_1k or 0) < (one.cost_per_1k or 0)
            )
            assert not better


@given(contenders=CONTENDERS)
def test_the_chart_is_xml_that_names_everybody(contenders: list[Contender]) -> None:
    svg = draw_chart(mark_front(contenders), title="versions <&>", currency="EUR")
    tree = ET.fromstring(svg)
    text = " ".join(tree.itertext())
    assert tree.get("role") == "img"
    for one in contenders:
        assert " ".join(one.name.split()) in " ".join(text.split())
    assert "nan" not in svg
    assert "prefers-color-scheme:dark" in svg


@pytest.mark.parametrize(
    ("quality", "cost", "axis"), [(0.9, 1.0, "quality"), (None, 1.0, "cost"), (None, None, "memory")]
)
def test_the_chart_shows_what_is_known(quality: float | None, cost: float | None, axis: str) -> None:
    svg = draw_chart([Contender("a", 0.1, quality, memory_bytes=1e9, cost_per_1k=cost)], title="one")
    labels = [node.text or "" for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert any(axis in label for label in labels)
