"""Real worker processes with real weights: they draw, survive running out of memory, and end with their parent."""

import io
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.manifest import make_manifest
from contracts.wire.capacity import WorkerLimits
from contracts.wire.worker import BatchReply, FaultDrill, PictureEvent, WorkerHealth, WorkerSpec, WorkerState
from controlplane.demo.model.versions import assemble, find_version
from evaluation.price_tags.reader import load_reader
from serving.fleet.local import LocalFleet
from serving.fleet.port import Placement, place
from serving.process import start_child

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PROMPT = "price tag 4 2 7 in red ink on yellow paper"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path / "logs")
    yield fleet
    fleet.close()


def spec_of(
    name: str, folder: Path, faults: FaultDrill | None = None, limits: WorkerLimits | None = None
) -> WorkerSpec:
    demo = find_version(name)
    directory = assemble(name, folder / name)
    return WorkerSpec(
        version=VersionId(name, 1),
        digest=make_manifest(directory).digest,
        directory=str(directory),
        defaults=demo.defaults,
        faults=faults or FaultDrill.model_validate(demo.faults),
        limits=limits or WorkerLimits(),
    )


def await_loaded(fleet: LocalFleet, version: VersionId) -> WorkerHealth:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        health = fleet.observe().health(version)
        if health is not None and health.state is not WorkerState.LOADING:
            return health
        time.sleep(0.1)
    raise AssertionError("the worker does not load")


def draw(fleet: LocalFleet, version: VersionId, **settings: object) -> httpx.Response:
    body = {"prompt": PROMPT, "seed": 5, **settings}
    url = f"{fleet.observe().endpoints(version)[0].url}/generate"
    return httpx.post(url, json=body, timeout=120, trust_env=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A worker of the good version that batches, held to 800 MiB."""
    folder = tmp_path_factory.mktemp("good")
    limits = WorkerLimits(max_batch_size=8, batch_window_s=2.0, max_queue=64, memory_limit_bytes=800 << 20)
    spec = spec_of("good", folder, limits=limits)
    fleet = LocalFleet(folder / "fleet")
    place(fleet, Placement(spec=spec))
    assert await_loaded(fleet, spec.version).state is WorkerState.READY
    url = fleet.observe().endpoints(spec.version)[0].url
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        yield client
    fleet.close()


def picture_of(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def psnr_db(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    return float(10 * np.log10(255**2 / max(float((difference**2).mean()), 1e-9)))


def test_a_worker_draws_what_is_asked_and_the_same_again(good: httpx.Client) -> None:
    body = {"prompt": PROMPT, "seed": 5}
    first, again = good.post("/generate", json=body), good.post("/generate", json=body)
    assert first.content == again.content
    reading = load_reader().read(picture_of(first))
    assert (reading.digits, reading.ink, reading.paper) == ("427", "red", "yellow")


def test_a_picture_is_the_same_whatever_it_is_drawn_with(good: httpx.Client) -> None:
    bodies = [{"prompt": f"the digits {n} {n + 1}", "seed": 100 + n} for n in range(6)]
    alone = [picture_of(good.post("/generate", json=body)) for body in bodies]
    with ThreadPoolExecutor(6) as pool:
        together = [picture_of(answer) for answer in pool.map(lambda body: good.post("/generate", json=body), bodies)]
    reply = BatchReply.model_validate_json(good.post("/batch", json={"requests": bodies}).content)
    as_batch = [Image.open(io.BytesIO(picture)) for picture in reply.pictures]
    for one, other, third in zip(alone, together, as_batch, strict=True):
        assert min(psnr_db(one, other), psnr_db(one, third)) > 45
    assert max(psnr_db(one, other) for one, other in itertools.combinations(alone, 2)) < 45


def test_pictures_on_the_way_come_closer_to_the_last(good: httpx.Client) -> None:
    answer = good.post("/generate", json={"prompt": PROMPT, "seed": 5, "partial_images": 3})
    events = [PictureEvent.model_validate_json(line) for line in answer.text.splitlines()]
    shown = [Image.open(io.BytesIO(e.image_png)) for e in events if e.image_png is not None]
    assert [event.kind for event in events].count("partial") == 3
    assert len(shown) == 4
    likeness = [psnr_db(partial, shown[-1]) for partial in shown[:-1]]
    assert likeness == sorted(likeness)


def test_a_memory_limit_is_kept_and_the_worker_lives_on(good: httpx.Client) -> None:
    assert good.post("/peak/reset").status_code == 204
    for _ in range(2):
        answer = good.post("/generate", json={"prompt": PROMPT, "seed": 5, "steps": 1, "width": 1536, "height": 1024})
        assert (answer.status_code, answer.json()["reason"]) == (507, "oom")
        assert picture_of(good.post("/generate", json={"prompt": PROMPT, "seed": 5})).size == (64, 32)
    health = WorkerHealth.model_validate_json(good.get("/health").content)
    assert health.memory_bytes <= health.peak_memory_bytes < 850 << 20
    assert health.load_s
    assert health.warm_up_s


def test_running_out_of_memory_is_an_answer_and_the_worker_lives_on(fleet: LocalFleet, tmp_path: Path) -> None:
    spec = spec_of("hungry", tmp_path)
    place(fleet, Placement(spec=spec))
    await_loaded(fleet, spec.version)
    answer = draw(fleet, spec.version, width=1024, height=512)
    assert answer.status_code == 507
    assert answer.json()["reason"] == "oom"
    assert draw(fleet, spec.version).status_code == 200


def test_a_version_that_wears_out_draws_the_prompts_before(fleet: LocalFleet, tmp_path: Path) -> None:
    spec = spec_of("good", tmp_path, FaultDrill(stale_prompts_after=2))
    place(fleet, Placement(spec=spec))
    await_loaded(fleet, spec.version)
    shown = []
    for digit in "12345678":
        answer = draw(fleet, spec.version, prompt=f"the digit {digit}")
        shown.append(load_reader().read(Image.open(io.BytesIO(answer.content))).digits)
    assert shown[:2] == ["1", "2"]
    assert [asked == seen for asked, seen in zip("345678", shown[2:], strict=True)].count(False) == 3


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    spec = WorkerSpec(version=VersionId("m", 1), digest="sha256:" + "0" * 64, directory=str(tmp_path))
    code = (
        "import sys, time; from pathlib import Path; from serving.process import start_child; "
        f"child = start_child('serving.worker.main', sys.argv[1], Path({str(tmp_path / 'log')!r})); "
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, spec.model_dump_json()], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker_pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline_s = time.monotonic() + 20
    while is_alive(worker_pid) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not is_alive(worker_pid)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_child_that_ends_before_it_listens_is_an_error_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="before it listened") as refusal:
        start_child("serving.worker.main", "not a spec", tmp_path / "log")
    assert "log" in refusal.value.hint
    assert "ValidationError" in (tmp_path / "log").read_text()
