"""What may be registered: good files pass, each trick is refused by name, and only code can be waived."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from contracts.errors import InvalidInput, NotPermitted
from controlplane.demo.model.versions import VERSIONS, assemble
from registry.catalogue import Registration
from registry.journal import Journal
from registry.mlflow_catalogue import MlflowCatalogue
from registry.safety.findings import Limits
from registry.safety.inspection import inspect, require_safe

Folder = Callable[[dict[str, bytes]], Path]
WEIGHTS = save({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.int8)})


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int, end: int, shape: list[int], kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def field(number: int, content: bytes | int) -> bytes:
    """One field of a protocol buffer; lengths below 128 only."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    key = number << 3 | 2
    return (bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])) + bytes([len(content)]) + content


def onnx(location: bytes | None = None) -> bytes:
    place = field(13, field(1, b"location") + field(2, location)) if location is not None else b""
    return field(1, 8) + field(7, field(2, b"graph") + field(5, field(8, b"w") + place))


def archive(members: dict[str, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", options.get("packing", zipfile.ZIP_STORED)) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def fitted(model: object) -> bytes:
    import skops.io

    return bytes(skops.io.dumps(model.fit(np.arange(40).reshape(-1, 1), [0, 1] * 20)))  # type: ignore[attr-defined]


def mlmodel(**flavor: object) -> bytes:
    return json.dumps({"flavors": {"python_function": {"loader_module": "mlflow.sklearn", **flavor}}}).encode()


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_the_demo_versions_pass(tmp_path: Path, version: object) -> None:
    assert inspect(assemble(version.name, tmp_path / "pipeline")) == []  # type: ignore[attr-defined]


def test_files_of_listed_formats_pass(folder: Folder) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    files = {
        "w.safetensors": WEIGHTS,
        "empty.safetensors": safetensors({"__metadata__": {"format": "pt"}}),
        "config.json": b"{}",
        "vocab/merges.txt": "Å b\n".encode(),
        "LICENSE": b"text",
        "MLmodel": mlmodel(),
        "m.onnx": onnx(),
        "big.onnx": onnx(b"big.onnx.data"),
        "big.onnx.data": b"\0" * 100,
        "lr.skops": fitted(LogisticRegression()),
        "rf.skops": fitted(RandomForestClassifier(2)),
        "gb.skops": fitted(HistGradientBoostingClassifier(max_iter=2)),
    }
    assert inspect(folder(files)) == []


BROKEN = {
    "empty": b"",
    "truncated": WEIGHTS[:-1],
    "padded": WEIGHTS + b"\0",
    "a pickle": pickle.dumps({"a": 1}) + b"\0" * 100,
    "a header longer than the file": struct.pack("<Q", 10_000) + b"{}",
    "an enormous header": struct.pack("<Q", 2**63) + b"{}",
    "a header that is no object": safetensors([]),
    "a header in other white space": safetensors(b'  {"a": 1}'),
    "overlap": safetensors({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)),
    "a gap": safetensors({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, bytes(12)),
    "beyond the end": safetensors({"a": tensor(0, 400, [100])}, bytes(4)),
    "a size that is not its shape's": safetensors({"a": tensor(0, 8, [3])}, bytes(8)),
    "a negative shape": safetensors({"a": tensor(0, 4, [-1, -1])}, bytes(4)),
    "a shape of truths": safetensors({"a": {**tensor(0, 4, []), "shape": [True]}}, bytes(4)),
    "an unknown type": safetensors({"a": tensor(0, 4, [1], "F99")}, bytes(4)),
    "the same name twice": safetensors(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
    ),
    "metadata that is not text": safetensors({"__metadata__": {"a": 1}}),
    "nested without end": safetensors(b'{"a":' * 50_000),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_broken_safetensors_are_refused_and_named(folder: Folder, content: bytes) -> None:
    (finding,) = inspect(folder({"unet/w.safetensors": content}))
    assert (finding.path, finding.rule, finding.waivable) == ("unet/w.safetensors", "format.broken", False)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WEIGHTS) - 1), st.integers(0, 255), st.booleans())
def test_what_we_let_pass_the_format_s_own_reader_opens(tmp_path: Path, at: int, value: int, cut: bool) -> None:
    content = WEIGHTS[:at] if cut else WEIGHTS[:at] + bytes([value]) + WEIGHTS[at + 1 :]
    directory = tmp_path / "one"
    directory.mkdir(exist_ok=True)
    (directory / "w.safetensors").write_bytes(content)
    if inspect(directory):
        return
    try:
        with safe_open(directory / "w.safetensors", "numpy") as file:
            assert set(file.keys()) is not None
    except SafetensorError as error:
        raise AssertionError("we let pass what can't be opened") from error


FILES = {
    "zero bytes in text": ({"a.txt": b"a\0b"}, "format.broken", False),
    "text that is not UTF-8": ({"a.md": b"\xff\xfe"}, "format.broken", False),
    "JSON that is none": ({"a.json": b"{"}, "format.broken", False),
    "a pickle named JSON": ({"a.json": pickle.dumps([])}, "format.broken", False),
    "JSON without end": ({"a.json": b"[" * 100_000}, "format.broken", False),
    "no ONNX": ({"a.onnx": b"\xff" * 40}, "format.broken", False),
    "an empty ONNX": ({"a.onnx": b""}, "format.broken", False),
    "truncated ONNX": ({"a.onnx": onnx()[:-3]}, "format.broken", False),
    "ONNX that reads another folder": ({"a.onnx": onnx(b"../../etc/passwd")}, "format.broken", False),
    "ONNX that reads an absolute path": ({"a.onnx": onnx(b"/etc/passwd")}, "format.broken", False),
    "ONNX without its data": ({"a.onnx": onnx(b"gone")}, "format.broken", False),
    "ONNX data alone": ({"a.onnx.data": b"123"}, "format.broken", False),
    "a pickle": ({"a.pkl": pickle.dumps([])}, "format.pickle", True),
    "torch weights": ({"sub/pytorch_model.bin": b"PK"}, "format.pickle", True),
    "code": ({"code/evil.py": b"import os"}, "format.code", True),
    "another format": ({"a.h5": b"x"}, "format.unlisted", True),
    "a hidden file": ({".git/config": b"x"}, "format.unlisted", True),
    "no suffix": ({"weights": b"x"}, "format.unlisted", True),
    "an odd name": ({"a\\b.txt": b"x"}, "file.name", False),
    "MLmodel that is no YAML": ({"MLmodel": b"{"}, "mlmodel.broken", False),
    "MLmodel without flavours": ({"MLmodel": b"a: 1"}, "mlmodel.broken", False),
    "MLmodel that constructs": ({"MLmodel": b"flavors: !!python/object/apply:os.system [id]"}, "mlmodel.broken", False),
    "MLmodel with anchors": ({"MLmodel": b"a: &a {b: 1}\nflavors: {onnx: *a}"}, "mlmodel.broken", False),
    "code of the folder": ({"MLmodel": mlmodel(code="code")}, "mlmodel.code", True),
    "a python model": ({"MLmodel": mlmodel(python_model="m.pkl")}, "mlmodel.code", True),
    "a loader of its own": ({"MLmodel": mlmodel(loader_module="evil")}, "mlmodel.loader", True),
    "a loader of another name": ({"sub/mlmodel": mlmodel(loader_module="os")}, "mlmodel.loader", True),
    "pickled by MLflow": ({"MLmodel": mlmodel(serialization_format="cloudpickle")}, "mlmodel.pickle", True),
    "a path outside": ({"MLmodel": mlmodel(model_path="../x")}, "mlmodel.path", False),
    "an unknown flavour": ({"MLmodel": b"flavors: {spark: {}}"}, "mlmodel.flavor", True),
    "no zip": ({"a.skops": b"x" * 100}, "format.broken", False),
    "no skops": ({"a.skops": archive({"a.txt": b"x"})}, "format.broken", False),
    "traversal in a zip": ({"a.skops": archive({"../schema.json": b"{}"})}, "format.broken", False),
    "bytes before a zip": ({"a.skops": b"#!" + archive({"schema.json": b"{}"})}, "format.broken", False),
    "bytes after a zip": ({"a.skops": archive({"schema.json": b"{}"}) + b"x"}, "format.broken", False),
    "a bomb": (
        {"a.skops": archive({"schema.json": b"{}", "a.npy": bytes(10_000_000)}, packing=zipfile.ZIP_DEFLATED)},
        "format.broken",
        False,
    ),
    "a wrong checksum": (
        {"a.skops": archive({"schema.json": b"{}", "a.npy": b"12345678"}).replace(b"12345678", b"12345679")},
        "format.broken",
        False,
    ),
}


@pytest.mark.parametrize(("files", "rule", "waivable"), FILES.values(), ids=FILES.keys())
def test_each_trick_is_found(folder: Folder, files: dict[str, bytes], rule: str, waivable: bool) -> None:
    (finding,) = inspect(folder(files))
    assert (finding.path, finding.rule, finding.waivable) == (next(iter(files)), rule, waivable)


def test_a_type_that_nobody_trusts_is_found(folder: Folder) -> None:
    import skops.io

    (finding,) = inspect(folder({"a.skops": bytes(skops.io.dumps({"call": os.system}))}))
    assert (finding.path, finding.rule, finding.waivable) == ("a.skops", "format.untrusted", True)


def test_links_sparse_and_oversized_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe.txt")
    with (tmp_path / "sparse.txt").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "large.txt").write_bytes(b"x" * 2000)
    rules = {f.path: f.rule for f in inspect(tmp_path, Limits(file_bytes=(1 << 30) + 1, text_bytes=1000))}
    assert rules == {
        "link.txt": "file.link",
        "folder": "file.link",
        "pipe.txt": "file.link",
        "sparse.txt": "file.sparse",
        "large.txt": "format.broken",
    }
    assert {f.rule for f in inspect(tmp_path, Limits(file_bytes=1000, total_bytes=1))} >= {"size.file", "size.total"}
    assert [f.rule for f in inspect(tmp_path, Limits(files=2))] == ["size.files"]


def test_an_approver_waives_one_digest_and_never_a_broken_file(folder: Folder, tmp_path: Path) -> None:
    journal, digest = Journal(tmp_path / "journal.db"), f"sha256:{'ab' * 32}"
    directory = folder({"code/model.py": b"x = 1"})
    with pytest.raises(NotPermitted, match=r"code/model\.py") as refusal:
        require_safe(directory, digest, journal)
    assert digest in refusal.value.hint
    with pytest.raises(InvalidInput, match="reason"):
        journal.write_waiver(digest, actor="ada", reason=" ")
    journal.write_waiver(digest, actor="ada", reason="read it")
    require_safe(directory, digest, journal)
    with pytest.raises(NotPermitted):
        require_safe(directory, f"sha256:{'00' * 32}", journal)
    (directory / "w.safetensors").write_bytes(b"broken")
    with pytest.raises(InvalidInput, match=r"w\.safetensors"):
        require_safe(directory, digest, journal)
    assert [(waiver.actor, waiver.reason) for waiver in journal.waivers()] == [("ada", "read it")]


def test_the_catalogue_refuses_what_is_not_safe(catalogue: MlflowCatalogue, folder: Folder) -> None:
    with pytest.raises(NotPermitted, match=r"m\.pkl"):
        catalogue.register("unsafe", Registration(folder({"m.pkl": pickle.dumps([])})))
    assert catalogue.search("unsafe").versions == ()
