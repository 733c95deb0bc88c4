"""Whatever a stranger sends: it is answered or refused as the stranger's mistake, never as a bug of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.serve.serving import FEATURES, RunningServer, served
from thalweg.ops.serve.grpc_api import inference, learning
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import thalweg_pb2

BUGS = {"INTERNAL", "UNKNOWN"}
EXAMPLES = 300


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service")) as parts:
        yield parts


@pytest.fixture(scope="module")
def client(service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def channel(service: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        yield channel


NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**30), 2**63, float("nan"), float("inf"), -0.0])
TEXTS = st.text(st.characters(codec=None)) | st.sampled_from(["\ud800", "features", "label", "9" * 5000, "\0", "", "m"])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))
SHAPES = st.lists(st.integers(-2, 5) | ANYTHING, max_size=4) | ANYTHING
DATATYPES = st.sampled_from(["FP32", "FP64", "FP16", "INT64", "UINT8", "BOOL", "BYTES", "BF16", ""]) | ANYTHING


def perhaps(usual: Any, other: st.SearchStrategy[Any] = ANYTHING) -> st.SearchStrategy[Any]:
    """The usual value three times in four."""
    return st.sampled_from([True, True, True, False]).flatmap(lambda well: st.just(usual) if well else other)


TENSORS = st.fixed_dictionaries(
    {
        "name": perhaps("features"),
        "datatype": perhaps("FP32", DATATYPES),
        "shape": perhaps([1, FEATURES], SHAPES),
        "data": perhaps([0.0] * FEATURES),
    },
    optional={"parameters": ANYTHING},
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("explain", "event_id", "as_of_version", "min_state_version", "binary_data"), ANYTHING),
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": perhaps([{"name": "features"}], st.lists(TENSORS | ANYTHING, max_size=3))},
    optional={
        "id": ANYTHING,
        "parameters": PARAMETERS | ANYTHING,
        "outputs": st.lists(st.fixed_dictionaries({"name": perhaps("label")}) | ANYTHING, max_size=3) | ANYTHING,
    },
)


@settings(max_examples=EXAMPLES)
@given(body=REQUESTS | st.fixed_dictionaries({"inputs": st.lists(TENSORS, min_size=1, max_size=2)}) | ANYTHING)
def test_no_json_body_is_a_bug_of_the_server(client: httpx.Client, body: Any) -> None:
    answer = client.post("/v2/models/m/infer", content=json.dumps(body))

    assert answer.status_code < 500 or answer.status_code in {501, 504}, answer.text
    assert answer.is_success or answer.json()["error"]


@settings(max_examples=EXAMPLES // 3)
@given(body=st.binary(max_size=200) | st.binary(max_size=20).map(lambda part: b'{"inputs":[' + part + b"]}"))
def test_no_bytes_as_a_body_are_a_bug_of_the_server(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v2/models/m/infer", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]


PATHS = st.sampled_from(["9" * 5000, "1", "99", "-1", "²", "%ff", "%2e%2e", "latest", "١", "1.0", "%00", " "])


@settings(max_examples=EXAMPLES // 3)
@given(
    model=st.sampled_from(["m", "empty", "other", "%ff", "%00", "..%2f"]),
    version=PATHS,
    end=st.sampled_from(["", "/ready", "/infer"]),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]),
)
def test_no_path_is_a_bug_of_the_server(client: httpx.Client, model: str, version: str, end: str, method: str) -> None:
    answer = client.request(method, f"/v2/models/{model}/versions/{version}{end}", content=b"{}")

    assert answer.status_code < 500 or answer.status_code == 503, answer.text  # a model without a version


MODELS = st.sampled_from(["m", "m", "m", "empty", "other", ""])
METHODS = [
    f"/{service}/{method.name}"
    for service, methods in ((inference.SERVICE, inference.METHODS), (learning.SERVICE, learning.METHODS))
    for method in methods
    if method.name not in {"Snapshot", "Rollback"}  # they wait for a learner, and there is none
] + [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
]


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20)
@given(content=st.binary(min_size=1, max_size=60))
def test_no_bytes_as_a_message_are_a_bug_of_the_server(channel: grpc.Channel, method: str, content: bytes) -> None:
    code, details = outcome(lambda: first(channel, method, content))

    assert code not in BUGS, details
    assert code == "OK" or details


@pytest.mark.parametrize("method", METHODS)
def test_a_call_without_a_message_and_one_with_text_that_is_not_utf8_are_mistakes_of_the_caller(
    channel: grpc.Channel, method: str
) -> None:
    name = method.rpartition("/")[2]
    for contents in ([], [b"\x0a\x02\xff\xfe"]):
        code, details = outcome(lambda: list(channel.stream_stream(method)(iter(contents), timeout=60)))  # noqa: B023

        empty = not contents and name in {"Learn", "ModelStreamInfer", "ServerReflectionInfo"}  # a stream of nothing
        no_text = contents and name in {"ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex"}
        assert (code == "INVALID_ARGUMENT") or empty or no_text, (code, details)


def outcome(call: Callable[[], object]) -> tuple[str, str]:
    """The status of a call, and its text."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def first(channel: grpc.Channel, method: str, content: bytes) -> None:
    """Wait for the first answer to this message, and end the call."""
    call = channel.stream_stream(method)(iter([content]), timeout=60)
    next(call, None)
    call.cancel()


PARAMETER = (
    st.builds(pb.InferParameter, string_param=st.text())
    | st.builds(pb.InferParameter, double_param=st.floats())
    | st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1))
    | st.just(pb.InferParameter())
)


@settings(max_examples=EXAMPLES)
@given(
    model=MODELS,
    version=st.sampled_from(["", "", "", "99", "x", "9" * 5000]),
    tensors=st.lists(
        st.tuples(
            st.sampled_from(["features", "features", "x", ""]),
            st.sampled_from(["FP32", "FP32", "FP16", "FP64", "BYTES", "INT8", "", "BF16"]),
            st.just([1, FEATURES]) | st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 5), max_size=40),
            st.none() | st.binary(min_size=16, max_size=16) | st.binary(max_size=40),
            st.lists(st.floats(width=32), max_size=5),
        ),
        max_size=3,
    ),
    parameters=st.dictionaries(
        st.sampled_from(["explain", "event_id", "as_of_version", "min_state_version", "priority"]),
        PARAMETER,
        max_size=2,
    ),
    outputs=st.lists(st.sampled_from(["label", "scores", "lable", ""]), max_size=3),
)
def test_no_inference_request_is_a_bug_of_the_server(
    channel: grpc.Channel,
    model: str,
    version: str,
    tensors: list[Any],
    parameters: dict[str, pb.InferParameter],
    outputs: list[str],
) -> None:
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    for name, kind, shape, raw, typed in tensors:
        tensor = request.inputs.add(name=name, datatype=kind, shape=shape)
        if raw is not None:
            request.raw_input_contents.append(raw)
        if typed or raw is None:
            tensor.contents.fp32_contents.extend(typed)
    for name, parameter in parameters.items():
        request.parameters[name].CopyFrom(parameter)
    for name in outputs:
        request.outputs.add(name=name)
    call = channel.unary_unary(f"/{inference.SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString)

    code, details = outcome(lambda: call(request, timeout=60))

    assert code not in BUGS, details
    assert code == "OK" or details


@pytest.mark.parametrize("interval", [float("nan"), float("inf"), -float("inf"), -1.0, 1e300])
def test_an_interval_that_is_none_is_a_mistake_of_the_caller(channel: grpc.Channel, interval: float) -> None:
    watch = channel.unary_stream(f"/{learning.SERVICE}/Watch", thalweg_pb2.WatchRequest.SerializeToString)

    with pytest.raises(grpc.RpcError) as caught:
        list(watch(thalweg_pb2.WatchRequest(model="m", interval_seconds=interval), timeout=60))

    assert caught.value.code().name == "INVALID_ARGUMENT"
    assert "interval_seconds: expected a number" in caught.value.details()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"ouputs": [{"name": "label"}]}, "no such field 'ouputs'; did you mean 'outputs'?"),
        ({"parameter": {}}, "no such field 'parameter'; did you mean 'parameters'?"),
        ({"inputs": None, "input": []}, "no such field 'input'; did you mean 'inputs'?"),
        ({"inputs": [{"shapes": [1]}]}, "an input: no such field 'shapes'; did you mean 'shape'?"),
        ({"outputs": [{"nane": "label"}]}, "an output: no such field 'nane'; did you mean 'name'?"),
        ({"other": 1}, "no such field 'other'; known: 'id', 'inputs'"),
        ({"outputs": [{"name": "label", "nane": 1}]}, "an output: no such field 'nane'; did you mean 'name'?"),
        ({"parameters": {"explian": 3}}, "parameter 'explian': no such parameter; did you mean 'explain'?"),
        ({"parameters": {"min_state_versions": 3}}, "did you mean 'min_state_version'?"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_known_one(
    client: httpx.Client, body: dict[str, Any], text: str
) -> None:
    tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0] * FEATURES}

    answer = client.post("/v2/models/m/infer", json={"inputs": [tensor], **body})

    assert (answer.status_code, text in answer.json()["error"]) == (400, True), answer.text


def test_a_misspelt_parameter_is_refused_over_grpc_and_one_of_another_server_is_ignored(channel: grpc.Channel) -> None:
    call = channel.unary_unary(f"/{inference.SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString)
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(bytes(4 * FEATURES))
    request.parameters["priority"].int64_param = 1

    assert call(request, timeout=60)
    request.parameters["explian"].bool_param = True
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60)

    assert caught.value.details() == "parameter 'explian': no such parameter; did you mean 'explain'?"


@pytest.mark.parametrize("brackets", [b"[", b'{"a":', b'[{"a":['])
@pytest.mark.parametrize("head", [b'{"inputs":', b'{"parameters":', b""])
def test_a_hundred_thousand_brackets_anywhere_are_refused_for_their_depth(
    client: httpx.Client, brackets: bytes, head: bytes
) -> None:
    answer = client.post("/v2/models/m/infer", content=head + brackets * 100_000)

    assert (answer.status_code, "nested more than 64 levels deep" in answer.text) == (400, True)
