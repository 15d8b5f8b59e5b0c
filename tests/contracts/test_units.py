"""Quantities read from text: exact, with a unit where one could be mistaken, and written back without loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from contracts.errors import InvalidInput
from contracts.units import (
    WRITTEN_BY_HAND,
    ByteSize,
    Duration,
    Fraction,
    format_bytes,
    format_duration,
    format_fraction,
    parse_bytes,
    parse_duration_s,
    parse_fraction,
)


class Quantities(BaseModel):
    duration: Duration = 1.0
    share: Fraction = 0.5
    size: ByteSize = 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("400ms", 0.4), ("10s", 10), ("1.5h", 5400), ("1h30m", 5400), ("28d", 28 * 86400), ("2w", 14 * 86400), ("0s", 0)],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "10 parsecs", "-3s", "1e400s", "s", "ten seconds", "1s" * 50])
def test_a_duration_without_a_unit_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_duration_s(text)
    assert refusal.value.hint


@pytest.mark.parametrize(("text", "share"), [("99.5%", 0.995), ("0.1 %", 0.001), (0.25, 0.25), ("100%", 1), (0, 0)])
def test_percentages_are_the_nearest_float(text: str | float, share: float) -> None:
    assert parse_fraction(text) == share


@pytest.mark.parametrize("value", ["150%", 5, "-1%", "nan", "inf", "five", ""])
def test_a_share_outside_0_to_100_percent_is_refused(value: str | float) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_fraction(value)
    assert "99.5%" in refusal.value.hint


@pytest.mark.parametrize(
    ("text", "size"), [("22GiB", 22 * 2**30), ("500MB", 500_000_000), ("1.5 KiB", 1536), ("7B", 7), (4096, 4096)]
)
def test_sizes_are_whole_bytes(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["22", "22gib", "1.0001KiB", "9999999TiB", "-1B", -1, 0.5, float("inf"), ""])
def test_a_size_that_is_no_whole_number_of_bytes_is_refused(text: str | float) -> None:
    with pytest.raises(InvalidInput):
        parse_bytes(text)


@given(st.floats(0, 1e15), st.floats(0, 1), st.integers(0, 2**60))
def test_json_keeps_every_quantity_exactly(seconds: float, share: float, size: int) -> None:
    document = Quantities(duration=seconds, share=share, size=size)
    assert Quantities.model_validate_json(document.model_dump_json()) == document


@pytest.mark.parametrize("value", [True, None, 10, 2.5, [1]])
def test_a_person_must_write_the_unit_of_a_duration(value: object) -> None:
    with pytest.raises(ValidationError, match="for example 10s"):
        Quantities.model_validate({"duration": value}, context={WRITTEN_BY_HAND: True})


def test_quantities_are_shown_as_people_write_them() -> None:
    assert [format_duration(s) for s in (0, 0.4, 2.5, 75, 5400, 86400)] == [
        "0s",
        "400ms",
        "2.5s",
        "1m15s",
        "1h30m",
        "1d",
    ]
    assert [format_fraction(s) for s in (0, 0.0182, 0.5, 0.995, 0.99953, 1)] == [
        "0 %", "1.82 %", "50 %", "99.5 %", "99.953 %", "100 %",
    ]  # fmt: skip
    assert format_bytes(4_508_876) == "4.3 MiB"
    assert format_bytes(1000 * 2**20) == "1000 MiB"
