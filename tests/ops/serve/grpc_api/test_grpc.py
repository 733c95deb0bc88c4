"""gRPC: the Open Inference Protocol and the learning service, against a running server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.ops.serve.serving import FEATURES, NAMES, RunningServer, events, served
from tests.services.processes import PATIENCE
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.grpc_api.inference import InferenceService
from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.encode import to_events
from thalweg.proto.event import Batch
from thalweg.stream.log.in_memory import InMemoryLog


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service")) as parts:
        yield parts


@pytest.fixture(scope="module")
def channel(service: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return inference_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def learning(channel: grpc.Channel) -> Any:
    return thalweg_pb2_grpc.LearningServiceStub(channel)


def ask(features: np.ndarray[Any, Any], *, raw: bool = True, **more: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", **more)
    tensor = request.inputs.add(name="features", datatype="FP32", shape=features.shape)
    if raw:
        request.raw_input_contents.append(features.astype("<f4").tobytes())
    else:
        tensor.contents.fp32_contents.extend(features.reshape(-1).tolist())
    return request


def labels(response: pb.ModelInferResponse) -> list[str]:
    place = [tensor.name for tensor in response.outputs].index("label")
    if response.outputs[place].HasField("contents"):
        return [text.decode() for text in response.outputs[place].contents.bytes_contents]
    content, found = response.raw_output_contents[place], []
    while content:
        size = int.from_bytes(content[:4], "little")
        found.append(content[4 : 4 + size].decode())
        content = content[4 + size :]
    return found


def truth(batch: Batch) -> list[str]:
    return [NAMES[code] for code in batch.labels.codes]  # type: ignore[union-attr]


def refused(call: Any, *arguments: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **more)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize("raw", [True, False])
def test_a_prediction_names_the_class_and_says_what_it_was_made_from(
    stub: Any, service: RunningServer, raw: bool
) -> None:
    batch = events(20, seed=9)

    response = stub.ModelInfer(ask(batch.inputs["features"], raw=raw, id="mine"))

    assert labels(response) == truth(batch)
    assert (response.model_name, response.id) == ("m", "mine")
    assert [(t.name, t.datatype, list(t.shape)) for t in response.outputs] == [
        ("label", "BYTES", [20]),
        ("scores", "FP32", [20, 3]),
    ]
    assert len(response.raw_output_contents) == 2
    assert response.outputs[0].HasField("contents") is not raw
    assert response.parameters["state_version"].int64_param == service.version
    assert response.parameters["learned_events"].int64_param == service.learned
    assert response.parameters["staleness_seconds"].HasField("double_param")


def test_only_the_outputs_that_were_asked_for_come(stub: Any) -> None:
    request = ask(np.zeros((2, FEATURES)))
    request.outputs.add(name="scores")

    response = stub.ModelInfer(request)

    assert [tensor.name for tensor in response.outputs] == ["scores"]
    assert len(response.raw_output_contents[0]) == 2 * 3 * 4


def test_no_rows_get_no_answers(stub: Any) -> None:
    response = stub.ModelInfer(ask(np.zeros((0, FEATURES))))

    assert [list(tensor.shape) for tensor in response.outputs] == [[0], [0, 3]]


def wrong(**changes: Any) -> pb.ModelInferRequest:
    request = ask(np.zeros((2, FEATURES)))
    for name, value in changes.items():
        setattr(request.inputs[0], name, value)
    return request


def twice() -> pb.ModelInferRequest:
    request = ask(np.zeros((1, FEATURES)))
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])
    return request


def both() -> pb.ModelInferRequest:
    request = ask(np.zeros((1, FEATURES)))
    request.inputs[0].contents.fp32_contents.extend([0.0] * FEATURES)
    return request


def short() -> pb.ModelInferRequest:
    request = ask(np.zeros((1, FEATURES)))
    request.raw_input_contents[0] = b"123"
    return request


def other_output() -> pb.ModelInferRequest:
    request = ask(np.zeros((1, FEATURES)))
    request.outputs.add(name="lable")
    return request


def doubles() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP64", shape=[1, FEATURES])
    request.raw_input_contents.append(bytes(8 * FEATURES))
    return request


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pb.ModelInferRequest(model_name="m"), "input 'features': missing"),
        (ask(np.zeros((2, 3))), "input 'features': expected"),
        (ask(np.zeros(FEATURES)), "input 'features': expected"),
        (wrong(name="feature"), "feature"),
        (wrong(datatype="FP99"), "unknown datatype 'FP99'"),
        (doubles(), "input 'features': expected"),
        (twice(), "given twice"),
        (both(), "both typed and raw contents"),
        (short(), "expected 16 bytes for shape [1, 4] of FP32, got 3"),
        (other_output(), "output 'lable': no such output; known: 'label', 'scores'"),
        (ask(np.array([[0, 0, 0, 0], [0, np.nan, 0, 0]])), "got NaN or infinity in row 1"),
        (ask(np.array([[np.inf, 0, 0, 0]]), raw=False), "got NaN or infinity in row 0"),
        (ask(np.zeros((1, FEATURES)), model_version="latest"), "expected the version of a snapshot, got 'latest'"),
        (
            ask(np.zeros((1, FEATURES)), parameters={"as_of_version": pb.InferParameter(bool_param=True)}),
            "whole number",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_invalid_and_the_tensor_named(
    stub: Any, request_: pb.ModelInferRequest, text: str
) -> None:
    code, details = refused(stub.ModelInfer, request_)

    assert code == "INVALID_ARGUMENT"
    assert text in details


def test_what_is_not_there_is_not_found_and_what_is_not_ready_unavailable(stub: Any) -> None:
    request = ask(np.zeros((1, FEATURES)))
    request.model_name = "other"
    assert refused(stub.ModelInfer, request) == ("NOT_FOUND", "no model is called 'other'; known: m, empty")
    request.model_name = "empty"
    assert refused(stub.ModelInfer, request)[0] == "UNAVAILABLE"
    request = ask(np.zeros((1, FEATURES)), model_version="77")
    assert refused(stub.ModelInfer, request)[0] == "NOT_FOUND"
    request = ask(np.zeros((1, FEATURES)), parameters={"event_id": pb.InferParameter(string_param="e")})
    assert refused(stub.ModelInfer, request)[0] == "UNIMPLEMENTED"


def test_a_request_larger_than_the_limit_is_refused_and_the_next_one_answered(stub: Any) -> None:
    code, _ = refused(stub.ModelInfer, ask(np.zeros((1_000_000, FEATURES))))

    assert code == "RESOURCE_EXHAUSTED"
    assert stub.ModelInfer(ask(np.zeros((1, FEATURES))))


class Late:
    """The context of a call whose deadline passed while it waited for its turn."""

    def is_active(self) -> bool:
        return True

    def time_remaining(self) -> float:
        return -0.1

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise RuntimeError(code.name)


def test_a_deadline_that_has_passed_is_not_worked_for(service: RunningServer) -> None:
    models = SimpleNamespace(all=list, ready=lambda name: pytest.fail("the work was begun"), sinks=RequestSinks())
    slots = Admission("predictions", 1, 0)
    servicer = InferenceService(InferenceCore(models), service.metrics, slots)  # type: ignore[arg-type]

    with pytest.raises(RuntimeError, match="DEADLINE_EXCEEDED"):
        servicer.ModelInfer(ask(np.zeros((1, FEATURES))).SerializeToString(), Late())  # type: ignore[arg-type]


def test_an_older_kept_version_answers_as_it_did(stub: Any, service: RunningServer) -> None:
    features = events(5, seed=3).inputs["features"]
    service.learn(50, save=True)
    version = service.version
    before = stub.ModelInfer(ask(features))
    service.learn(500)

    now = stub.ModelInfer(ask(features))
    then = stub.ModelInfer(ask(features, parameters={"as_of_version": pb.InferParameter(int64_param=version)}))
    by_name = stub.ModelInfer(ask(features, model_version=str(version)))

    assert then.raw_output_contents == before.raw_output_contents == by_name.raw_output_contents
    assert now.raw_output_contents != then.raw_output_contents
    assert then.parameters["state_version"].int64_param == version


def test_a_caller_can_wait_for_its_own_write_to_show(stub: Any, service: RunningServer) -> None:
    wanted = service.version + 1
    request = ask(np.zeros((1, FEATURES)), parameters={"min_state_version": pb.InferParameter(int64_param=wanted)})
    assert refused(stub.ModelInfer, request, timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    waiting = stub.ModelInfer.future(request, timeout=PATIENCE)

    service.learn(10)

    assert waiting.result().parameters["state_version"].int64_param == wanted


def test_many_requests_may_go_over_one_stream(stub: Any) -> None:
    bad = ask(np.zeros((1, 3)), id="bad")
    requests = [ask(np.zeros((1, FEATURES)), id="1"), bad, ask(np.zeros((2, FEATURES)), id="2")]

    answers = list(stub.ModelStreamInfer(iter(requests)))

    assert [answer.infer_response.id for answer in answers] == ["1", "bad", "2"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]


def test_the_server_and_its_models_describe_themselves(stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert not stub.ServerReady(pb.ServerReadyRequest()).ready  # one of the two has no version
    assert stub.ModelReady(pb.ModelReadyRequest(name="m")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="empty")).ready
    assert refused(stub.ModelReady, pb.ModelReadyRequest(name="x"))[0] == "NOT_FOUND"
    assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "thalweg"
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="m"))
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("features", "FP32", [-1, FEATURES])]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("label", "BYTES", [-1]),
        ("scores", "FP32", [-1, -1]),  # classes may come at any time
        ("classes", "BYTES", [-1, -1]),
    ]
    assert set(json.loads(metadata.properties["classes"])) == set(NAMES)
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest())
    assert [(model.name, model.state) for model in index.models] == [("m", "READY"), ("empty", "UNAVAILABLE")]
    assert [m.name for m in stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models] == ["m"]


def test_a_version_describes_itself_and_says_whether_it_is_ready(stub: Any, service: RunningServer) -> None:
    service.learn(20, save=True)
    kept = service.version
    service.learn(20)

    for version in map(str, (kept, service.version)):
        assert stub.ModelReady(pb.ModelReadyRequest(name="m", version=version)).ready
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name="m", version=version)).versions == [version]
    assert not stub.ModelReady(pb.ModelReadyRequest(name="empty", version="1")).ready
    for version, code in (("99", "NOT_FOUND"), ("latest", "INVALID_ARGUMENT"), ("9" * 5000, "INVALID_ARGUMENT")):
        assert refused(stub.ModelReady, pb.ModelReadyRequest(name="m", version=version))[0] == code
        assert refused(stub.ModelMetadata, pb.ModelMetadataRequest(name="m", version=version))[0] == code


def test_health_has_an_entry_per_model(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def status(name: str) -> str:
        code = health.Check(health_pb2.HealthCheckRequest(service=name)).status
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(code))

    assert status("m") == "SERVING"
    assert status("empty") == status("") == "NOT_SERVING"
    assert refused(health.Check, health_pb2.HealthCheckRequest(service="x"))[0] == "NOT_FOUND"


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    services = set(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert {"inference.GRPCInferenceService", "thalweg.v1.LearningService", "grpc.health.v1.Health"} <= services


def test_events_that_are_sent_to_learn_are_in_the_log_when_acknowledged(learning: Any, service: RunningServer) -> None:
    def event(value: bytes, model: str = "m") -> thalweg_pb2.Event:
        message = thalweg_pb2.Event.FromString(value)
        message.model = model
        return message

    good = [event(value) for value in to_events(events(3))]
    bad = thalweg_pb2.Event(model="m", id="bad")

    acks = list(learning.Learn(iter([good[0], bad, good[1], event(to_events(events(1))[0], "other"), good[2]])))

    assert [ack.topic for ack in acks] == ["m.events", "", "m.events", "", "m.events"]
    assert acks[1].id == "bad"
    assert "missing" in acks[1].error
    assert "no model is called 'other'" in acks[3].error
    assert [acks[place].offset for place in (0, 2, 4)] == [0, 1, 2]
    runs = service.log.reader(["m.events"], {}).poll(1)
    assert len(runs[0]) == 3
    assert thalweg_pb2.Event.FromString(runs[0].values[0] or b"").model == ""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"time": 4e9}, "max_future_seconds"),
        ({"time": -1.0}, "from 0 (1970)"),
        ({"id": "e" * 1025}, "at most 1024 bytes"),
        ({"key": "k" * 1025}, "at most 1024 bytes"),
        ({"label_text": "c" * 1025}, "at most 1024 bytes"),
    ],
)
def test_what_the_learner_would_not_take_is_refused_at_the_door(
    learning: Any, service: RunningServer, changes: dict[str, Any], text: str
) -> None:
    event = thalweg_pb2.Event.FromString(to_events(events(1))[0])
    event.model = "m"
    for field, value in changes.items():
        setattr(event, field, value)
    before = service.log.bounds("m.events")

    (ack,) = learning.Learn(iter([event]))

    assert text in ack.error
    assert service.log.bounds("m.events") == before


def test_the_record_of_an_event_has_the_time_at_which_it_was_appended(learning: Any, service: RunningServer) -> None:
    event = thalweg_pb2.Event.FromString(to_events(events(1))[0])
    event.model, event.time = "m", 5.0
    began = time.time()

    list(learning.Learn(iter([event])))

    (run,) = service.log.reader(["m.events"], {}).poll(1)
    assert began <= run.times[-1] <= time.time()


def test_a_model_and_its_versions_can_be_looked_up(learning: Any, service: RunningServer) -> None:
    model = learning.GetModel(thalweg_pb2.GetModelRequest(name="m"))
    assert (model.name, model.learner, model.topic, model.ready) == ("m", "ridge", "m.events", True)
    assert (model.state_version, model.learned_events) == (service.version, service.learned)
    assert set(model.classes) == set(NAMES)
    assert not learning.GetModel(thalweg_pb2.GetModelRequest(name="empty")).ready
    kept = learning.ListSnapshots(thalweg_pb2.ListSnapshotsRequest(model="m")).snapshots
    assert kept[0].version == 1
    assert kept[0].metrics["accuracy"] == 0.5


def test_snapshot_and_rollback_are_asked_of_the_learner_through_the_store(
    learning: Any, service: RunningServer
) -> None:
    def answer(result: dict[str, Any]) -> None:
        while not (commands := service.store.poll("m")):
            pass
        service.store.respond(commands[0].id, {**result, "verb": commands[0].verb, **commands[0].arguments})

    def beside(result: dict[str, Any]) -> threading.Thread:
        thread = threading.Thread(target=answer, args=(result,), daemon=True)
        thread.start()
        return thread

    beside({"version": 7})
    assert learning.Snapshot(thalweg_pb2.SnapshotRequest(model="m"), timeout=PATIENCE).version == 7
    beside({"error": "failed_precondition", "message": "version 3 is not kept"})
    refusal = refused(learning.Rollback, thalweg_pb2.RollbackRequest(model="m", version=3), timeout=PATIENCE)
    assert refusal == ("FAILED_PRECONDITION", "version 3 is not kept")
    assert refused(learning.Snapshot, thalweg_pb2.SnapshotRequest(model="m"), timeout=0.3)[0] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("name", "request_", "text"),
    [
        ("Label", thalweg_pb2.LabelRequest(model="m", id="e", text="a"), "model 'm' has no labels_topic"),
        ("Forget", thalweg_pb2.ForgetRequest(model="m"), "in this version"),
    ],
)
def test_what_is_not_offered_says_so(learning: Any, name: str, request_: Any, text: str) -> None:
    code, details = refused(getattr(learning, name), request_)

    assert code == "UNIMPLEMENTED"
    assert text in details


def test_a_model_can_be_watched(learning: Any, service: RunningServer) -> None:
    call = learning.Watch(thalweg_pb2.WatchRequest(model="m", interval_seconds=0.05), timeout=PATIENCE)
    first = next(call)
    assert first.state_version == service.version
    assert first.metrics["accuracy"] == 0.5
    service.learn(10)

    assert any(status.state_version == service.version for status in call)
    call.cancel()


def test_a_draining_server_says_so_and_finishes(tmp_path: Path) -> None:
    with served(tmp_path) as parts, grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ModelInfer(ask(np.zeros((1, FEATURES))), wait_for_ready=True)

        parts.server.drain(5)

        assert parts.server.models.reasons() == ["the server is draining"]
        assert refused(stub.ModelInfer, ask(np.zeros((1, FEATURES))))[0] == "UNAVAILABLE"


def test_a_port_in_use_is_an_error_that_names_it(service: RunningServer) -> None:
    with pytest.raises(OSError, match=rf"{service.server.grpc_port} \(service.grpc\): another process listens there"):
        Server(
            Models([]),
            InMemoryLog(),
            service.store,
            workers=workers_of(ServerLimits()),
            addresses=Addresses(grpc=f"127.0.0.1:{service.server.grpc_port}", http="127.0.0.1:0"),
        )
    with pytest.raises(OSError, match=rf"{service.server.http_port} \(service.http\): another process listens there"):
        Server(
            Models([]),
            InMemoryLog(),
            service.store,
            workers=workers_of(ServerLimits()),
            addresses=Addresses(grpc="127.0.0.1:0", http=f"127.0.0.1:{service.server.http_port}"),
        )
