"""``roost model`` as a person meets it, on a real store."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from contracts.errors import Conflict, IntegrityError, InvalidInput, NotFound, NotPermitted, RoostError
from controlplane.cli.main import app
from tests.serving.models import write_onnx

RUNNER = CliRunner()


class Shell:
    """Runs commands on one home; an error of the house is raised, as ``main`` would print it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def text(self, *words: str) -> str:
        answer = RUNNER.invoke(app, ["model", *words, "--home", str(self.home)])
        if isinstance(answer.exception, RoostError):
            raise answer.exception
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "--json"))


@pytest.fixture
def shell(home: Path) -> Shell:
    return Shell(home)


def test_a_version_is_registered_listed_and_shown(shell: Shell, model: Path) -> None:
    one = shell.json("register", "tags", str(model), "--description", "first", "--data", "digits")
    assert (one["version"], one["state"], one["parent"]) == ("tags@1", "registered", None)
    text = shell.text("register", "tags", str(model), "--parent", "tags@1", "--alias", "champion", "--actor", "ada")
    assert text.startswith("tags@2 ")
    listed = shell.json("list", "tags")
    assert [(row["version"], row["aliases"]) for row in listed["versions"]] == [
        ("tags@2", ["champion"]),
        ("tags@1", []),
    ]
    assert set(listed) == {"versions", "foreign", "next_page"}
    assert [row["version"] for row in shell.json("list", "--tag", "roost.state=champion")["versions"]] == ["tags@2"]
    assert "tags@2   champion    champion" in shell.text("list", "tags")
    shown = shell.json("show", "tags@champion")
    assert (shown["version"], shown["ancestors"], shown["signed_by"]) == ("tags@2", ["tags@1"], [])
    assert shell.json("show", "tags@1")["lineage"]["data"] == "digits"
    assert "ancestors" in shell.text("show", "tags@2")
    assert shell.json("compare", "tags@1", "tags@2")["same_content"] is True


def test_an_alias_moves_is_undone_and_its_history_told(shell: Shell, model: Path) -> None:
    for _ in range(3):
        shell.text("register", "moved", str(model))
    shell.text("alias", "moved@1", "champion", "--actor", "ada", "--reason", "first")
    moved = shell.json("alias", "moved@2", "champion", "--expect", "moved@1", "--actor", "bob", "--reason", "better")
    assert moved == {"alias": "champion", "from": "moved@1", "to": "moved@2"}
    with pytest.raises(Conflict):
        shell.text("alias", "moved@3", "champion", "--expect", "moved@1")
    assert shell.json("show", "moved@previous")["version"] == "moved@1"
    assert shell.text("undo", "moved", "--actor", "ada") == "champion: moved@2 → moved@1\n"
    history = shell.json("history", "moved", "--alias", "champion")
    assert [(row["kind"], row["from"], row["to"], row["actor"], row["reason"]) for row in history] == [
        ("moved", None, "moved@1", "ada", "first"),
        ("moved", "moved@1", "moved@2", "bob", "better"),
        ("undone", "moved@2", "moved@1", "ada", "undo"),
    ]
    assert len(shell.text("history", "moved").splitlines()) == 6  # header, three moves, previous set and taken away


def test_a_move_by_hand_is_settled(shell: Shell, client: MlflowClient, model: Path) -> None:
    for _ in range(2):
        shell.text("register", "hand", str(model))
    shell.text("alias", "hand@1", "champion")
    client.set_registered_model_alias("hand", "champion", "2")
    with pytest.raises(Conflict, match="moved outside"):
        shell.text("alias", "hand@1", "champion")
    assert "moved outside" in shell.json("show", "hand@1")["stray_aliases"][0]
    with pytest.raises(InvalidInput):
        shell.text("reconcile", "hand", "champion")
    assert shell.text("reconcile", "hand", "champion", "--revert") == "champion of hand: hand@1\n"


def test_a_version_is_signed_and_verified(shell: Shell, model: Path, tmp_path: Path) -> None:
    (model / "own.txt").write_text("signed by commands")
    shell.text("register", "signed-here", str(model))
    key, other = tmp_path / "key", tmp_path / "other"
    for path in (key, other):
        assert RUNNER.invoke(app, ["model", "keygen", str(path)]).exit_code == 0
    assert "no signature was asked for" in shell.text("verify", "signed-here@1")
    with pytest.raises(NotPermitted):
        shell.text("verify", "signed-here@1", "--key", f"{key}.pub")
    signer = shell.json("sign", "signed-here@1", "--key", str(key))["signer"]
    found = shell.json("verify", "signed-here@1", "--key", f"{key}.pub")
    assert (found["signer"], found["files"]) == (signer, 3)
    assert shell.json("show", "signed-here@1")["signed_by"] == [signer]
    with pytest.raises(NotPermitted):
        shell.text("verify", "signed-here@1", "--key", f"{other}.pub")
    stored = next(shell.home.glob("artifacts/*/artifacts/content/own.txt"))
    stored.write_text("changed")
    with pytest.raises(IntegrityError, match=r"own\.txt"):
        shell.text("verify", "signed-here@1")


def test_code_needs_a_waiver(shell: Shell, model: Path) -> None:
    (model / "extra.pkl").write_bytes(pickle.dumps([]))
    with pytest.raises(NotPermitted, match=r"extra\.pkl") as refusal:
        shell.text("register", "waived", str(model))
    digest = next(word for word in refusal.value.hint.split() if word.startswith("sha256:"))
    shell.text("waive", digest, "--reason", "an empty list", "--actor", "ada")
    assert shell.json("register", "waived", str(model))["digest"] == digest
    assert shell.json("show", "waived@1")["waivers"][0]["actor"] == "ada"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("show", "absent@1"), NotFound),
        (("show", "absent"), InvalidInput),
        (("register", "m"), InvalidInput),
        (("register", "m", "folder", "--run", "abc"), InvalidInput),
        (("register", "m", "/no/such/folder"), InvalidInput),
        (("register", "m", "--run", "abc"), NotFound),
        (("register", "m", "--adopt", "7"), NotFound),
        (("register", "m", "--adopt", "7", "--data", "x"), InvalidInput),
        (("undo", "absent"), NotFound),
        (("list", "--tag", "state"), InvalidInput),
        (("list", "a b"), InvalidInput),
        (("waive", "sha256:1", "--reason", "x"), InvalidInput),
        (("sign", "absent@1", "--key", "/no/key"), NotFound),
    ],
)
def test_wrong_input_has_an_error_of_the_house(shell: Shell, words: tuple[str, ...], kind: type[RoostError]) -> None:
    with pytest.raises(kind) as refusal:
        shell.text(*words)
    assert refusal.value.hint


def test_reading_makes_no_registry(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no registry"):
        Shell(tmp_path / "none").text("list")
    assert not (tmp_path / "none").exists()


def test_a_refusal_reaches_the_shell_with_its_status(home: Path) -> None:
    roost = Path(sys.executable).with_name("roost")
    command = [str(roost), "model", "show", "absent@1", "--home", str(home)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert answer.returncode == 3
    assert answer.stderr.startswith("error: absent@1 is not registered")
    assert answer.stdout == ""


def test_a_folder_says_how_it_wants_to_be_asked_and_options_come_first(shell: Shell, model: Path) -> None:
    document = {"num_inference_steps": 4, "guidance_scale": 1.5, "height": 64, "width": 32}
    (model / "generation.json").write_text(json.dumps(document))
    shell.text("register", "asked", str(model))
    shell.text("register", "asked", str(model), "--steps", "9", "--size", "128x256")
    first, second = (shell.json("show", f"asked@{number}")["defaults"] for number in (1, 2))
    assert (first["num_inference_steps"], first["width"], first["height"]) == (4, 32, 64)
    assert (second["num_inference_steps"], second["guidance_scale"]) == (9, 1.5)
    assert (second["width"], second["height"]) == (128, 256)


def test_only_of_what_draws_is_said_how_it_draws(shell: Shell, model: Path, tmp_path: Path) -> None:
    words = ["--home", str(shell.home)]
    drawing = RUNNER.invoke(app, ["model", "register", "drawing", str(model), "--size", "64x32", *words])
    assert "draws 64x32" in drawing.stderr
    table = RUNNER.invoke(app, ["model", "register", "table", str(write_onnx(tmp_path / "table")), *words])
    assert table.exit_code == 0, table.output
    assert table.stdout.startswith("table@1 ")
    assert table.stderr == ""


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ('{"steps": 4}', (), "generation.json.steps"),
        ("[", (), "generation.json"),
        ("{}", ("--size", "wide"), "WIDTHxHEIGHT"),
        ("{}", ("--dtype", "int3"), "torch_dtype"),
    ],
)
def test_wrong_generation_defaults_are_told(
    shell: Shell, model: Path, text: str, words: tuple[str, ...], message: str
) -> None:
    (model / "generation.json").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        shell.text("register", "mistaken", str(model), *words)


def test_a_card_is_made_of_what_was_told(shell: Shell, model: Path) -> None:
    shell.text("register", "told", str(model), "--licence", "Apache-2.0", "--limitations", "digits only")
    text = shell.text("card", "told@1")
    assert "Apache-2.0" in text
    assert "- digits only" in text
    document = shell.json("card", "told@1")
    assert (document["licence"], document["limitations"]) == ("Apache-2.0", ["digits only"])
