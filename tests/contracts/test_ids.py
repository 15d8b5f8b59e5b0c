"""References to versions, names and aliases; time and chance handed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contracts.clock import Clock, FakeClock, SystemClock
from contracts.errors import Conflict, InvalidInput, RoostError, SpecError
from contracts.ids import VersionId, VersionRef, parse_alias, parse_name
from contracts.rng import Rng, SeededRng, SystemRng


def test_a_version_is_named_by_number_or_alias() -> None:
    assert VersionRef.parse("tags@13") == VersionRef("tags", number=13)
    assert VersionRef.parse("tags@Champion") == VersionRef("tags", alias="champion")
    assert str(VersionId.parse("price-tags@4")) == "price-tags@4"


@pytest.mark.parametrize(
    "text",
    ["tags", "tags@", "@3", "tags@0", "tags@013", "tags@latest", "../x@1", "a b@1", "tags@1\n", "t@1@2"],
)
def test_what_is_no_reference_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        VersionRef.parse(text)
    assert refusal.value.hint


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True), st.integers(1, 10**9))
def test_references_round_trip(model: str, number: int) -> None:
    version = VersionId(model, number)
    adapter = TypeAdapter(VersionId)
    assert VersionId.parse(str(version)) == version
    assert adapter.validate_json(adapter.dump_json(version)) == version


def test_a_version_in_a_document_is_refused_with_the_same_words() -> None:
    with pytest.raises(ValidationError, match="MODEL@NUMBER"):
        TypeAdapter(VersionId).validate_python("tags@champion")


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a-", "x" * 101, "naïve", "a\n"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(InvalidInput, match="service"):
        parse_name(name, "service")


def test_aliases_are_lower_case_and_not_those_that_mlflow_reserves() -> None:
    assert parse_alias("Champion") == "champion"
    for reserved in ("latest", "v12", "Champion.prev", "canary/1"):
        with pytest.raises(InvalidInput):
            parse_alias(reserved)


def test_a_fake_clock_stands_still_until_advanced_and_monotonic_never_goes_back() -> None:
    clock = FakeClock(1000.0)
    clock.advance(5)
    clock.set_back(100)
    assert (clock.now_s(), clock.monotonic_s()) == (905.0, 5.0)


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()])
def test_clocks_do_not_run_backwards(clock: Clock) -> None:
    before = clock.monotonic_s()
    assert clock.monotonic_s() >= before
    assert clock.now_s() > 1_700_000_000


@pytest.mark.parametrize("rng", [SystemRng(), SeededRng(3)])
def test_chance_stays_in_its_bounds(rng: Rng) -> None:
    assert all(0 <= rng.uniform() < 1 and 0 <= rng.integer(7) < 7 for _ in range(200))
    assert len(rng.token(8)) == 16


def test_seeded_chance_repeats() -> None:
    first, second = SeededRng(5), SeededRng(5)
    assert [first.token() for _ in range(3)] == [second.token() for _ in range(3)]


def test_every_error_has_its_own_stable_code() -> None:
    kinds = RoostError.__subclasses__() + InvalidInput.__subclasses__()
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert Conflict("taken", hint="wait").to_dict() == {"code": "conflict", "message": "taken", "hint": "wait"}
    assert SpecError.exit_status == 6
