"""How a version wants to be asked, read from its folder."""

from pathlib import Path

import pytest

from contracts.errors import InvalidInput
from contracts.wire.worker import GenerationDefaults
from controlplane.demo.model.versions import assemble, find_version
from registry.generation import FILE, read_generation


def test_a_folder_without_the_file_has_the_defaults(tmp_path: Path) -> None:
    assert read_generation(tmp_path)[0] == GenerationDefaults()


def test_the_demo_s_folders_say_how_they_are_asked(tmp_path: Path) -> None:
    defaults, faults = read_generation(assemble("leaky", tmp_path / "leaky"))
    assert defaults == find_version("leaky").defaults
    assert faults.model_dump(exclude_none=True) == find_version("leaky").faults


@pytest.mark.parametrize(
    ("text", "named"),
    [("[]", "no JSON object"), ("{", "can't be read"), ('{"steps": 8}', "steps"), ('{"height": -1}', "height")],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InvalidInput, match=named):
        read_generation(tmp_path)
