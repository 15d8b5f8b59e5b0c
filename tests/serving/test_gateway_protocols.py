"""The protocols with the clients that people already have: openai, tritonclient and mlflow's own."""

import base64
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import httpx
import numpy as np
import openai
import pandas as pd
import pytest
from PIL import Image
from starlette.applications import Starlette

from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.wire.routing import RoutingTable, ServiceRoutes
from contracts.wire.tensors import Datatype, InferRequest, ModelMetadata, Tensor, TensorSpec
from contracts.wire.worker import FailureReason, GenerateRequest, WorkerSpec
from serving.gateway.client import GatewayClient
from serving.worker.app import Worker
from serving.worker.runtimes.port import AfterStep, DrawFailure, Picture
from tests.serving.conftest import CONTROL_TOKEN, Bench, ScriptedRuntime, running, running_worker


class DrawingRuntime(ScriptedRuntime):
    """Draws a real picture in one colour, chosen by the seed; shows it half-way."""

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        self.asked.extend(requests)
        pictures = [png(request.seed, request.width or 64, request.height or 32) for request in requests]
        for step in range(1, 26):
            after_step(step, 25, lambda index: pictures[index])
        if self.failure is not None:
            raise DrawFailure(self.failure, f"scripted {self.failure}")
        return [partial(bytes, picture) for picture in pictures]


class SumRuntime:
    """Adds the columns of a table row by row; refuses what isn't numbers."""

    def __init__(self) -> None:
        self.asked: list[InferRequest] = []

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def metadata(self) -> ModelMetadata:
        spec = TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1, 2))
        return ModelMetadata(inputs=(spec,), outputs=(spec.model_copy(update={"name": "sum"}),))

    def infer(self, request: InferRequest) -> list[Tensor]:
        self.asked.append(request)
        if any(tensor.datatype is Datatype.BYTES for tensor in request.inputs):
            raise DrawFailure(FailureReason.REFUSED, "inputs: only numbers can be added")
        columns = [np.array(t.data, float).reshape(t.shape).reshape(t.shape[0], -1) for t in request.inputs]
        sums = np.concatenate(columns, axis=1).sum(axis=1)
        return [Tensor(name="sum", shape=sums.shape, datatype=Datatype.FP64, data=sums.tolist())]


def png(seed: int, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (seed % 256, 100, 150)).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def champion() -> ScriptedRuntime:
    return DrawingRuntime()


@pytest.fixture
def images(bench: Bench) -> Iterator[openai.OpenAI]:
    bench.route()
    with openai.OpenAI(base_url=f"{bench.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def decode(b64: str | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64 or "")))


def test_openai_draws_several_pictures_with_following_seeds(images: openai.OpenAI, champion: ScriptedRuntime) -> None:
    answer = images.images.generate(model="tags", prompt="a tag", n=3, size="128x64", extra_body={"seed": 7})
    pictures = [decode(row.b64_json) for row in answer.data or ()]
    assert [picture.getpixel((0, 0))[0] for picture in pictures] == [7, 8, 9]  # type: ignore[index]
    assert {picture.size for picture in pictures} == {(128, 64)}
    facts = [json.loads(picture.text["roost"]) for picture in pictures]  # type: ignore[attr-defined]
    assert [fact["seed"] for fact in facts] == [7, 8, 9]
    assert len({fact["request_id"] for fact in facts}) == 3
    assert {(request.width, request.height) for request in champion.asked} == {(128, 64)}


@pytest.mark.parametrize(("wanted", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("jpeg", "JPEG")])
def test_every_format_carries_its_provenance(
    images: openai.OpenAI, wanted: Literal["png", "webp", "jpeg"], kind: str
) -> None:
    answer = images.images.generate(model="tags", prompt="a tag", output_format=wanted, extra_body={"seed": 5})
    picture = decode((answer.data or [])[0].b64_json)
    assert picture.format == kind
    text = picture.text["roost"] if kind == "PNG" else picture.getexif()[0x010E]  # type: ignore[attr-defined]
    facts = json.loads(text)
    assert (facts["service"], facts["version"], facts["seed"]) == ("tags", "m@1", 5)


def test_openai_streams_pictures_on_the_way_and_then_the_last(images: openai.OpenAI, bench: Bench) -> None:
    stream = images.images.generate(model="tags", prompt="a tag", stream=True, partial_images=2, extra_body={"seed": 3})
    events = list(stream)
    assert [event.type for event in events][-1] == "image_generation.completed"
    partial = [event for event in events if event.type == "image_generation.partial_image"]
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    assert 1 <= len(partial) <= 2
    assert all(decode(event.b64_json).size == (64, 32) for event in events)
    reply = bench.client.pull()
    assert [(row.total, row.n_bad) for batch in reply.batches for row in batch.attempts] == [(1, 0)]


def test_a_stream_that_fails_before_a_picture_has_a_status(images: openai.OpenAI, bench: Bench) -> None:
    bench.route(1.0)  # the challenger's runtime is scripted and shows nothing on the way
    worker = bench.endpoints["m@2"][0]
    gone = worker.model_copy(update={"url": "http://127.0.0.1:9"})
    bench.route(1.0, endpoints={**bench.endpoints, "m@2": (gone,)})
    with pytest.raises(openai.InternalServerError):
        images.images.generate(model="tags", prompt="a tag", stream=True, partial_images=1)


def test_openai_errors_are_openais(images: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no service is called"):
        images.images.generate(model="nope", prompt="a tag")
    with pytest.raises(openai.BadRequestError) as caught:
        images.images.generate(model="tags", prompt="a tag", size="7x7")
    assert (caught.value.param, caught.value.code) == ("size", "input.invalid")
    assert [model.id for model in images.models.list()] == ["tags"]
    assert images.models.retrieve("tags").id == "tags"


@pytest.fixture
def table_gateway(make_gateway: Callable[[], Starlette]) -> Iterator[tuple[str, SumRuntime]]:
    """A gateway with a service of tables beside one of pictures."""
    runtime = SumRuntime()
    spec = WorkerSpec(version=VersionId("sums", 4), digest="sha256:" + "0" * 64, directory="unused")
    with (
        running(Worker(spec, lambda _: runtime).app()) as worker,
        running_worker(VersionId("m", 1), DrawingRuntime()) as drawing,
        running(make_gateway()) as url,
    ):
        table = {"replica": "s4-0", "url": worker}
        routes = [
            ServiceRoutes.model_validate({"service": "sums", "champion": "sums@4", "endpoints": {"sums@4": [table]}}),
            ServiceRoutes(service="tags", champion=VersionId("m", 1), endpoints={"m@1": (drawing,)}),
        ]
        client = GatewayClient(url, CONTROL_TOKEN)
        client.push(RoutingTable(fence=1, revision=1, services={routes_of.service: routes_of for routes_of in routes}))
        yield url, runtime
        client.close()


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_infers(table_gateway: tuple[str, SumRuntime], binary: bool) -> None:
    import tritonclient.http as triton

    url, runtime = table_gateway
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sums")
    assert not client.is_model_ready("nope")
    metadata = client.get_model_metadata("sums")
    assert metadata["inputs"][0]["name"] == "x"
    assert metadata["versions"] == ["4"]
    values = np.array([[1.5, 2.0], [3.0, 4.0]], np.float32)
    given = triton.InferInput("x", [2, 2], "FP32")
    given.set_data_from_numpy(values, binary_data=binary)
    answer = client.infer("sums", [given], request_id="mine")
    assert answer.as_numpy("sum").tolist() == [3.5, 7.0]
    assert (answer.get_response()["model_version"], answer.get_response()["id"]) == ("4", "mine")
    assert runtime.asked[0].inputs[0].datatype is Datatype.FP32
    text = triton.InferInput("x", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([["crown"]], dtype=object), binary_data=binary)
    with pytest.raises(triton.InferenceServerException, match="only numbers"):
        client.infer("sums", [text])
    with pytest.raises(triton.InferenceServerException, match="no service is called"):
        client.infer("nope", [given])
    client.close()


def test_mlflows_client_scores_tables_and_arrays(table_gateway: tuple[str, SumRuntime]) -> None:
    url, runtime = table_gateway
    host, port = url.removeprefix("http://").split(":")
    with warnings.catch_warnings(action="ignore"):  # MLflow warns of its own type hints
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient
    client = ScoringServerClient(host, int(port))
    client.ping()
    assert client.get_version().startswith("3.")
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, None]})
    frame = frame.fillna(0.25)
    assert client.invoke(frame).get_predictions().iloc[:, 0].tolist() == [1.5, 2.25]
    assert [(t.name, t.datatype) for t in runtime.asked[-1].inputs] == [("a", Datatype.INT64), ("b", Datatype.FP64)]
    assert client.invoke(np.array([[1.0, 2.0]]), params={"round": True}).get_predictions().iloc[0, 0] == 3.0
    assert runtime.asked[-1].parameters == {"round": True}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"dataframe_records": [{"a": 1, "b": 2}]}', "application/json"),
        ('{"instances": [{"a": 1, "b": 2}]}', "application/json; charset=utf-8"),
        ('{"instances": [[1, 2]]}', "application/json"),
        ('{"inputs": {"a": [1], "b": [2]}}', "application/json"),
        ("a,b\n1,2\n", "text/csv"),
    ],
)
def test_every_shape_of_mlflows_scoring(table_gateway: tuple[str, SumRuntime], body: str, kind: str) -> None:
    url, _ = table_gateway
    headers = {"content-type": kind}
    for path in ("/invocations", "/services/sums/invocations", "/invocations?service=sums"):
        answer = httpx.post(url + path, content=body, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()) == (200, {"predictions": [3.0]})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{", "application/json"),
        ("[]", "application/json"),
        ('{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "application/json"),
        ('{"instances": [[1], [1, 2]]}', "application/json"),
        ('{"instances": [], "inputs": []}', "application/json"),
        ('{"instances": 5, "colour": 1}', "application/json"),
        ('{"dataframe_split": 5}', "application/json"),
        ('{"dataframe_records": [5]}', "application/json"),
        ("a,b\n1\n", "text/csv"),
        ("a", "image/png"),
    ],
)
def test_bad_tables_have_mlflows_error_and_reach_no_worker(
    table_gateway: tuple[str, SumRuntime], body: str, kind: str
) -> None:
    url, runtime = table_gateway
    answer = httpx.post(f"{url}/invocations", content=body, headers={"content-type": kind}, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert answer.json()["message"]
    assert not runtime.asked


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b'{"inputs": []}', {}),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP8", "data": [1]}]}', {}),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], "colour": 1}', {}),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}', {}),
        (b"{}", {"inference-header-content-length": "99"}),
        (b"{}", {"inference-header-content-length": "x"}),
        (b'{"inputs": [5]}', {"inference-header-content-length": "15"}),
    ],
)
def test_bad_inferences_have_the_protocols_error(
    table_gateway: tuple[str, SumRuntime], body: bytes, headers: dict[str, str]
) -> None:
    url, runtime = table_gateway
    answer = httpx.post(f"{url}/v2/models/sums/infer", content=body, headers=headers, trust_env=False)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
    assert not runtime.asked


def test_binary_inputs_of_every_size_are_decoded_or_refused(table_gateway: tuple[str, SumRuntime]) -> None:
    url, _ = table_gateway
    rng = SeededRng(3)
    for _ in range(50):
        n = rng.integer(5)
        raw = bytes(rng.integer(256) for _ in range(n))
        header = json.dumps(
            {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT32", "parameters": {"binary_data_size": n}}]}
        ).encode()
        answer = httpx.post(
            f"{url}/v2/models/sums/infer",
            content=header + raw,
            headers={"inference-header-content-length": str(len(header))},
            trust_env=False,
        )
        if n == 4:
            assert answer.json()["outputs"][0]["data"] == [float(int.from_bytes(raw, "little", signed=True))]
        elif n == 0:
            assert answer.status_code in {400, 500}
        else:
            assert answer.status_code == 400


def test_tables_without_a_name_are_ambiguous_when_nobody_or_everybody_takes_them(bench: Bench) -> None:
    bench.route()
    answer = bench.http.post("/invocations", json={"instances": [[1]]})
    assert answer.json()["error_code"] in {"BAD_REQUEST", "INTERNAL_ERROR"}


def test_a_version_in_the_path_needs_the_right_to_choose(table_gateway: tuple[str, SumRuntime]) -> None:
    url, runtime = table_gateway
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
    answer = httpx.post(f"{url}/v2/models/sums/versions/4/infer", json=body, trust_env=False)
    assert answer.status_code == 403
    assert not runtime.asked
