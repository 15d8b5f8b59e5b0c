"""Manifests: one digest that changes with every byte and every name."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from contracts.manifest import FileEntry, Manifest, make_manifest

ENTRIES = st.builds(FileEntry, st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 2**50))
FILES = st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True), ENTRIES, min_size=1, max_size=5)


@given(FILES)
def test_a_manifest_round_trips_and_order_does_not_matter(files: dict[str, FileEntry]) -> None:
    manifest = Manifest(files)
    backwards = Manifest(dict(reversed(files.items())))
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert backwards.digest == manifest.digest


@given(FILES, FILES)
def test_different_content_has_a_different_digest(one: dict[str, FileEntry], other: dict[str, FileEntry]) -> None:
    assert (Manifest(one).digest == Manifest(other).digest) == (one == other)


def test_files_are_hashed_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.bin").write_bytes(b"\x00\xff" * 5000)
    manifest = make_manifest(tmp_path)
    assert manifest.files == {"sub/a.bin": FileEntry(hashlib.sha256(b"\x00\xff" * 5000).hexdigest(), 10_000)}
    assert manifest.size_bytes == 10_000


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"../a": ["00", 1]}', '{"/etc/passwd": ["00", 1]}', "{"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Manifest.from_json(text)
