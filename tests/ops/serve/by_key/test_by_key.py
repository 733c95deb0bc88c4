"""A model by key over both wires: every row is answered by the shard of its key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.serve.by_key.sharded import TOPIC, PartitionedLog, ShardedServer, events_of, key_for, served_by_key
from tests.ops.serve.serving import FEATURES, NAMES
from tests.services.processes import until
from thalweg.ops.serve.models import RequestSinks
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.tensors import to_raw
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.shards.partitioner import partition_of

PARTITIONS = 3
OF_SHARDS = ((0, 1, 2), (1, 2), (2, 0, 1))
ROW = [1.0, 0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardedServer]:
    with served_by_key(tmp_path_factory.mktemp("service"), PARTITIONS, OF_SHARDS) as parts:
        until("the model answers", lambda: not parts.model.unready())
        yield parts


@pytest.fixture(scope="module")
def client(service: ShardedServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def calls(service: ShardedServer) -> Iterator[Any]:
    with grpc.insecure_channel(
        f"127.0.0.1:{service.server.grpc_port}", options=[("grpc.max_receive_message_length", -1)]
    ) as channel:
        yield inference_pb2_grpc.GRPCInferenceServiceStub(channel)


def expected(service: ShardedServer, features: np.ndarray, keys: list[str]) -> tuple[list[str], np.ndarray]:
    """Labels and scores as the shards themselves give them, in the columns of NAMES."""
    labels, scores = [], np.full((len(keys), len(NAMES)), np.finfo(np.float32).min, dtype=np.float32)
    for row, key in enumerate(keys):
        predictor = service.learners[partition_of(key.encode(), PARTITIONS)].predictor()
        own = predictor.predict({"features": features[row : row + 1]})
        labels.append(predictor.classes[own["label"][0]])
        for name, score in zip(predictor.classes, own["scores"][0]):
            scores[row, NAMES.index(name)] = score
    return labels, scores


def tensors(features: np.ndarray, keys: list[str] | None = None, **parameters: str) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=features.shape)
    request.raw_input_contents.append(features.astype("<f4").tobytes())
    if keys is not None:
        request.inputs.add(name="key", datatype="BYTES", shape=[len(keys)])
        request.raw_input_contents.append(to_raw(np.array([key.encode() for key in keys], dtype=object)))
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    return request


def answered(response: pb.ModelInferResponse) -> tuple[list[str], np.ndarray]:
    """Labels, and scores in the columns of NAMES."""
    found = {one.name: (one, raw) for one, raw in zip(response.outputs, response.raw_output_contents)}
    one, raw = found["scores"]
    scores = np.frombuffer(raw, "<f4").reshape(tuple(one.shape))
    labels, content = [], found["label"][1]
    while content:
        size = int.from_bytes(content[:4], "little")
        labels.append(content[4 : 4 + size].decode())
        content = content[4 + size :]
    return labels, scores


@settings(max_examples=25, deadline=None)
@given(
    keys=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=40),
    seed=st.integers(0, 99),
)
def test_every_row_gets_the_answer_of_the_shard_of_its_key(
    service: ShardedServer, client: httpx.Client, calls: Any, keys: list[str], seed: int
) -> None:
    features = np.random.default_rng(seed).normal(0, 1, (len(keys), FEATURES)).astype(np.float32)
    labels, scores = expected(service, features, keys)

    over_grpc = answered(calls.ModelInfer(tensors(features, keys)))
    rows = client.post(
        "/v1/models/m/predict",
        json=[{"features": row, "key": key} for row, key in zip(features.tolist(), keys)],
    ).json()

    assert over_grpc[0] == labels
    order = [NAMES.index(name) for name in service.model.versions.newest.predictor.classes]
    np.testing.assert_array_equal(over_grpc[1], scores[:, order])
    assert [row["label"] for row in rows] == labels
    np.testing.assert_array_equal([[row["scores"][name] for name in NAMES] for row in rows], scores)


@pytest.mark.parametrize("partition", range(PARTITIONS))
def test_a_key_may_come_as_parameter_input_option_or_field(
    service: ShardedServer, client: httpx.Client, calls: Any, partition: int
) -> None:
    key, features = key_for(partition, PARTITIONS), np.array([ROW], dtype=np.float32)
    tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}
    column = {"name": "key", "shape": [1], "datatype": "BYTES", "data": [key]}
    (label,), _ = expected(service, features, [key])

    found = [
        answered(calls.ModelInfer(tensors(features, [key])))[0][0],
        answered(calls.ModelInfer(tensors(features, key=key)))[0][0],
        *(
            next(
                one["data"][0]
                for one in client.post("/v2/models/m/infer", json=body).json()["outputs"]
                if one["name"] == "label"
            )
            for body in ({"inputs": [tensor, column]}, {"inputs": [tensor], "parameters": {"key": key}})
        ),
        client.post(f"/v1/models/m/predict?key={key}", json={"features": ROW}).json()["label"],
        client.post("/v1/models/m/predict", json={"features": ROW, "key": key}).json()["label"],
        client.post("/v1/models/m/predict", json={"inputs": {"features": ROW}, "key": key}).json()["label"],
        client.post("/v1/models/m:predict", json={"instances": [{"features": ROW, "key": key}]}).json()["predictions"][
            0
        ]["label"],
    ]

    assert found == [label] * 8


def test_a_whole_number_is_the_key_of_its_digits(client: httpx.Client, calls: Any) -> None:
    features = np.array([ROW], dtype=np.float32)
    text = answered(calls.ModelInfer(tensors(features, ["7"])))
    request = tensors(features)
    request.parameters["key"].int64_param = 7
    column = tensors(features)
    column.inputs.add(name="key", datatype="INT64", shape=[1])
    column.raw_input_contents.append(np.array([7], "<i8").tobytes())

    for one in (request, column):
        np.testing.assert_array_equal(answered(calls.ModelInfer(one))[1], text[1])
    row = client.post("/v1/models/m/predict", json={"features": ROW, "key": 7}).json()
    assert row["label"] == text[0][0]


def test_bytes_that_are_no_text_are_a_key(service: ShardedServer, calls: Any) -> None:
    features = np.array([ROW], dtype=np.float32)
    key = b"\0\0\0\xff"
    request = tensors(features)
    request.inputs.add(name="key", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(to_raw(np.array([key], dtype=object)))

    (label,), _ = answered(calls.ModelInfer(request))

    predictor = service.learners[partition_of(key, PARTITIONS)].predictor()
    assert label == predictor.classes[predictor.predict({"features": features})["label"][0]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"features": ROW}, "expected a key for each row"),
        ({"features": ROW, "key": None}, "expected a key for each row"),
        ({"features": ROW, "key": ""}, "expected a key for each row"),
        ([{"features": ROW, "key": "a"}, {"features": ROW}], "got none in row 1"),
        ({"features": ROW, "key": ["a"]}, "key: expected a text or a number"),
        ({"features": ROW, "key": {"a": 1}}, "key: expected a text or a number"),
        ({"features": ROW, "key": "k" * 2000}, "at most 1024 bytes, got 2000"),
    ],
)
def test_a_row_without_a_sound_key_is_refused(client: httpx.Client, body: Any, told: str) -> None:
    answer = client.post("/v1/models/m/predict", json=body)

    assert answer.status_code == 400
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"datatype": "BYTES", "shape": [2], "data": ["a", "b"]}, "expected shape [1]"),
        ({"datatype": "BYTES", "shape": [1, 2], "data": ["a", "b"]}, "expected shape [1]"),
        ({"datatype": "FP32", "shape": [1], "data": [1.5]}, "expected BYTES of shape [1], got float32"),
        ({"datatype": "BOOL", "shape": [1], "data": [True]}, "expected BYTES of shape [1], got bool"),
        ({"datatype": "BYTES", "shape": [1], "data": [None]}, "expected strings"),
        ({"datatype": "BYTES", "shape": [1], "data": [""]}, "expected a key for each row"),
    ],
)
def test_an_input_key_of_another_form_is_refused(client: httpx.Client, column: dict[str, Any], told: str) -> None:
    tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}

    answer = client.post("/v2/models/m/infer", json={"inputs": [tensor, {"name": "key", **column}]})

    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]


@pytest.mark.parametrize("key", [True, 1.5, None, ["a"]])
def test_a_parameter_key_of_another_type_is_refused(client: httpx.Client, key: Any) -> None:
    tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}

    answer = client.post("/v2/models/m/infer", json={"inputs": [tensor], "parameters": {"key": key}})

    assert answer.status_code == 400
    assert "parameter 'key': expected a string or a whole number" in answer.json()["error"]


def test_two_keys_of_a_row_that_differ_are_refused(client: httpx.Client) -> None:
    row = {"features": ROW, "key": "a"}

    answer = client.post("/v1/models/m/predict?key=b", json=[row])

    assert answer.status_code == 400
    assert "row 0: has the key b'a'" in answer.json()["error"]
    assert client.post("/v1/models/m/predict?key=a", json=[row]).status_code == 200


def test_no_rows_need_no_keys(client: httpx.Client) -> None:
    assert client.post("/v1/models/m/predict", json=[]).json() == []


def test_the_rows_of_inputs_must_agree(client: httpx.Client) -> None:
    tensor = {"name": "features", "shape": [2, FEATURES], "datatype": "FP32", "data": ROW * 2}
    other = {"name": "other", "shape": [1], "datatype": "FP32", "data": [1.0]}

    answer = client.post("/v2/models/m/infer", json={"inputs": [tensor, other], "parameters": {"key": "a"}})

    assert answer.status_code == 400
    assert "other" in answer.json()["error"]


def test_its_version_is_the_sum_of_those_of_its_shards(service: ShardedServer, calls: Any) -> None:
    before = service.model.versions.newest.info
    predictor = service.learn(1, OF_SHARDS[1])

    served = service.subscriber.wait_for(before.version + 1, 20)

    assert served.info.version == sum(service.versions.values()) == before.version + 1
    assert served.info.learned_events == sum(service.learned.values())
    assert served.info.as_of == min(one.subscriber.current.info.published_at for one in service.subscriber.shards)
    key, features = key_for(1, PARTITIONS), np.array([ROW], dtype=np.float32)
    request = tensors(features, [key])
    request.parameters["min_state_version"].int64_param = served.info.version
    response = calls.ModelInfer(request)
    assert response.parameters["state_version"].int64_param == served.info.version
    assert answered(response)[0] == [predictor.classes[predictor.predict({"features": features})["label"][0]]]


def test_a_version_that_comes_is_waited_for_and_one_before_cannot_be_had(
    service: ShardedServer, client: httpx.Client
) -> None:
    newest = service.model.versions.newest.info.version
    row = {"features": ROW, "key": "a"}

    late = client.post(f"/v1/models/m/predict?min_state_version={newest + 1}", json=row)
    before = client.post(f"/v1/models/m/predict?as_of_version={newest - 1}", json=row)
    now = client.post(f"/v1/models/m/predict?as_of_version={newest}", json=row)

    assert (late.status_code, before.status_code, now.status_code) == (504, 404, 200)
    assert "put together from those of its shards are not kept" in before.json()["error"]


def test_it_looks_like_one_model(service: ShardedServer, client: httpx.Client, calls: Any) -> None:
    metadata = client.get("/v2/models/m").json()
    over_grpc = calls.ModelMetadata(pb.ModelMetadataRequest(name="m"))
    newest = service.model.versions.newest.info

    assert [one["name"] for one in client.get("/v2/repository/index").json()] == ["m"]
    assert [one["name"] for one in metadata["inputs"]] == ["features", "key"] == [one.name for one in over_grpc.inputs]
    assert metadata["inputs"][1] == {"name": "key", "datatype": "BYTES", "shape": [-1]}
    assert metadata["properties"]["answers_by"] == "key"
    told = metadata["properties"]["shard_versions"].split(",")
    assert json.loads(metadata["properties"]["shards"]) == {
        str(partition): int(version) for partition, version in enumerate(told) if version
    }
    assert client.get("/v2/models/m/ready").json()["ready"]
    (shown,) = [
        one
        for one in client.get("/metrics").text.splitlines()
        if one.startswith('thalweg_state_version{model_name="m"}')
    ]
    assert float(shown.split()[-1]) == newest.version
    assert client.get("/readyz").json()["ready"]
    assert client.get("/api/models/m").json()["learned_events"] == newest.learned_events


def test_the_description_of_rest_has_the_key(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    for path in ("/v1/models/m/predict", "/v1/models/m:predict"):
        assert "key" in {one["name"] for one in paths[path]["post"]["parameters"]}
    body = paths["/v2/models/m/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "key" in body["properties"]["parameters"]["properties"]


def test_events_go_to_the_shard_that_answers_their_key(service: ShardedServer, client: httpx.Client) -> None:
    keys = [f"u{number}" for number in range(20)]
    rows = [{"inputs": {"features": ROW}, "label": "left", "key": key} for key in keys]
    wanted = [partition_of(key.encode(), PARTITIONS) for key in keys]

    over_http = client.post("/v1/models/m/events", json=rows).json()
    with ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}"))
        stub = thalweg_pb2_grpc.LearningServiceStub(channel)
        events = [thalweg_pb2.Event(model="m", key=key, label_text="left") for key in keys]
        for event in events:
            event.inputs.add(name="features", datatype="FP32", shape=[FEATURES])
            event.raw_input_contents.append(np.array(ROW, "<f4").tobytes())
        over_grpc = list(stub.Learn(iter(events)))

    assert [ack["partition"] for ack in over_http] == wanted
    assert [ack.partition for ack in over_grpc] == wanted


def test_requests_that_it_learns_from_go_to_the_shards_that_answered_them(tmp_path: Path) -> None:
    log = PartitionedLog(PARTITIONS)
    requests = RequestLog({"m": TOPIC}, log)
    keys = [f"u{number % 7}" for number in range(30)]

    with served_by_key(tmp_path, PARTITIONS, OF_SHARDS, log=log, sinks=RequestSinks(log=requests)) as parts:
        until("the model answers", lambda: not parts.model.unready())
        with httpx.Client(base_url=f"http://127.0.0.1:{parts.server.http_port}") as client:
            rows = [{"features": ROW, "key": key} for key in keys]
            assert client.post("/v1/models/m/predict", json=rows).status_code == 200
        until("the requests are appended", lambda: requests.recorded["m"] == len(keys))

    assert {message.key for _, message in log.appended} == {key.encode() for key in keys}
    counts = {
        message.key.decode(): thalweg_pb2.EventBatch.FromString(message.value).events  # type: ignore[union-attr,arg-type]
        for _, message in log.appended
    }
    assert counts == {key: keys.count(key) for key in keys}


def test_a_million_rows_are_answered_by_one_call_of_each_shard(tmp_path: Path) -> None:
    rows = 1_000_000
    with served_by_key(tmp_path, PARTITIONS, ((0, 1, 2),) * PARTITIONS) as parts:
        until("the model answers", lambda: not parts.model.unready())
        served = parts.model.versions.newest
        keys = np.array([b"user-%d" % number for number in range(rows)], dtype=object)
        features = np.zeros((rows, FEATURES), dtype=np.float32)
        features[np.arange(rows), np.arange(rows) % FEATURES] = 1

        inputs = parts.model.keys.read({"features": features, "key": keys}, None, None)
        outputs = served.predictor.predict(inputs)

    assert outputs["label"].shape == (rows,)
    some = np.random.default_rng(0).integers(0, rows, 50)
    for row in some.tolist():
        predictor = parts.learners[partition_of(keys[row], PARTITIONS)].predictor()
        own = predictor.predict({"features": features[row : row + 1]})
        columns = [served.predictor.classes.index(name) for name in predictor.classes]
        np.testing.assert_allclose(outputs["scores"][row, columns], own["scores"][0], atol=1e-6)


def test_events_of_tests_differ_by_partition() -> None:
    """Else a row that went to another shard would get the same answer."""
    assert not np.array_equal(events_of(0, (0, 1, 2)).inputs["features"], events_of(1, (0, 1, 2)).inputs["features"])
