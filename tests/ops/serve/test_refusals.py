"""A request that is refused leaves no event, no remembered request and no count of success, whatever the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.running import until
from tests.ops.serve.serving import FEATURES, events, new_learner
from tests.ops.telemetry.test_metrics import samples
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext, Predictor
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve import versions
from thalweg.ops.serve.errors import DeadlineExceeded
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.versions import WaitSlots
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.publication.file_channel import FilePublisher

CURRENT_VERSION, DAMAGED, OTHER_SETTINGS = 5, 2, 3
GOOD = ("features", "FP32", [1, FEATURES], [0.0] * FEATURES)
NAN, INF = float("nan"), float("inf")


class Rich:
    """A ridge that offers all that a predictor may: validation, explanations, other inputs."""

    def __init__(self, ridge: Predictor) -> None:
        self._ridge = ridge
        self.inputs, self.outputs, self.classes = ridge.inputs, ridge.outputs, ridge.classes
        self.properties, self.state, self.task = ridge.properties, ridge.state, ridge.task
        self.alternative_inputs = {"twice": TensorSpec("twice", "float32", (FEATURES,))}

    def check(self, inputs: Inputs) -> None:
        if any((array < -5).any() for array in inputs.values()):
            raise InputError("input 'features': expected numbers of at least -5")

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        return [[{"most": most}] for _ in next(iter(inputs.values()))]

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return self._ridge.predict({"features": inputs["twice"] / 2} if "twice" in inputs else inputs)


def rich(state: State) -> Any:
    return Rich(Ridge.predictor_from(state))


class House:
    """A server of a rich model that learns from its requests and joins labels, a plain one, and an empty one."""

    def __init__(self, folder: Path) -> None:
        self.log, self.pending = InMemoryLog(), InMemoryPending()
        self.slots = WaitSlots(1)
        buffer = RequestBuffer({"rich": self.pending})
        request_log = RequestLog({name: f"{name}.events" for name in ("rich", "plain", "empty")}, self.log)
        locations = [
            self._location(folder, "rich", rich, "rich.labels"),
            self._location(folder, "plain", Ridge.predictor_from),
            self._location(folder, "empty", Ridge.predictor_from, "empty.labels"),
        ]
        self.models = Models(locations, RequestSinks(buffer, request_log), self.slots)
        self.metrics = ServerMetrics(folder / "live", self.models)
        self.server = Server(
            self.models,
            self.log,
            InMemoryCommandQueue(),
            workers=workers_of(ServerLimits()),
            addresses=Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0"),
            telemetry=self.metrics,
        )
        learner = new_learner()
        learner.learn(events(100))
        for name in ("rich", "plain"):
            publisher = FilePublisher(folder / "live" / name)
            publisher.publish(learner.predictor(), version=CURRENT_VERSION, learned_events=100, event_time=0.0)
            publisher.close()
            self._keep_bad_versions(FolderSnapshots(folder / "state" / name), learner)
        self.server.start()
        assert self.models.find("rich").versions.newest is not None
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}")
        self.stub = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.server.http_port}", timeout=60)

    def _location(
        self, folder: Path, name: str, build: Callable[[State], Predictor], labels_topic: str = ""
    ) -> ModelLocation:
        def restore(state: State) -> Predictor:
            learner = new_learner()
            learner.restore(state)
            return build(learner.predictor().state())

        return ModelLocation(
            name=name,
            learner="ridge",
            topic=f"{name}.events",
            labels_topic=labels_topic,
            live=folder / "live" / name,
            state=folder / "state" / name,
            schema=new_learner().schema,
            build=build,
            restore=restore,
        )

    def _keep_bad_versions(self, snapshots: FolderSnapshots, learner: Ridge) -> None:
        wider = Ridge(LearnerContext(inputs={"features": TensorSpec("features", "float32", (FEATURES + 1,))}))
        for version, state in ((DAMAGED, learner.state()), (OTHER_SETTINGS, wider.state())):
            manifest = Manifest(
                model="m",
                version=version,
                parent=None,
                learner="ridge",
                config_sha256="",
                offsets={},
                events_learned=1,
                created=1.0,
                metrics={},
            )
            snapshots.save(manifest, {"learner": state})
        (damaged,) = (snapshots.folder / str(DAMAGED)).glob("*.safetensors")
        damaged.write_bytes(damaged.read_bytes()[:-1])

    def close(self) -> None:
        self.http.close()
        self._channel.close()
        self.server.close()

    def events(self) -> int:
        topics = ["rich.events", "plain.events", "empty.events"]
        return sum(len(run) for run in self.log.reader(topics, {}).poll(0.0))

    def counts(self) -> dict[str, float]:
        """Requests by status, all models and names together."""
        found: dict[str, float] = {}
        page = self.metrics.render()[0].splitlines()
        counters = [line for line in page if line.startswith(b"thalweg_inference_requests_total")]
        for (_, labels), value in samples(b"\n".join([*counters, b""])).items():
            code = dict(labels)["code"]
            found[code] = found.get(code, 0.0) + value
        return found

    def answer_one(self, event_id: str) -> None:
        """A request that is answered, recorded and remembered: what came before it is by then, too."""
        before = self.events()
        self.stub.ModelInfer(over_grpc(Asked(parameters={"event_id": event_id})), timeout=60)
        until("the request to be remembered", lambda: self.pending.find("rich", [event_id])[0] is not None, 60)
        until("the request to be an event", lambda: self.events() > before, 60)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    yield house
    house.close()


@dataclass(frozen=True)
class Asked:
    """A request in no wire's words."""

    model: str = "rich"
    version: str = ""
    tensors: tuple[Any, ...] = (GOOD,)
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}


def over_grpc(asked: Asked) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=asked.model, model_version=asked.version)
    for name, kind, shape, values in asked.tensors:
        request.inputs.add(name=name, datatype=kind, shape=shape)
        request.raw_input_contents.append(np.array(values, DTYPES[kind]).tobytes())
    for name in asked.outputs:
        request.outputs.add(name=name)
    for name, value in asked.parameters.items():
        kind = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def by_grpc(house: House, asked: Asked) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        house.stub.ModelInfer(over_grpc(asked))  # without a deadline: it would be waited for up to it
    return caught.value.code().name, caught.value.details()


def by_stream(house: House, asked: Asked) -> tuple[str, str]:
    before = house.counts()
    (answer,) = house.stub.ModelStreamInfer(iter([over_grpc(asked)]))
    until("the request to be counted", lambda: house.counts() != before, 60)
    (code,) = [code for code, count in house.counts().items() if count != before.get(code, 0.0)]
    return code, answer.error_message


HTTP = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "FAILED_PRECONDITION": 409,
    "UNIMPLEMENTED": 501,
    "RESOURCE_EXHAUSTED": 429,
}


def by_rest(house: House, asked: Asked) -> tuple[str, str]:
    version = f"/versions/{asked.version}" if asked.version else ""
    tensors = [
        dict(zip(("name", "datatype", "shape", "data"), (name, kind, shape, values)))
        for name, kind, shape, values in asked.tensors
    ]
    body = {"inputs": tensors, "outputs": [{"name": name} for name in asked.outputs], "parameters": asked.parameters}
    answer = post(house, f"/v2/models/{asked.model}{version}/infer", body)
    (code,) = [code for code, status in HTTP.items() if status == answer.status_code] or [str(answer.status_code)]
    return code, answer.json()["error"]


def post(house: House, path: str, body: Any) -> httpx.Response:
    return house.http.post(path, content=json.dumps(body))  # httpx would refuse NaN


WIRES = {"grpc": by_grpc, "stream": by_stream, "rest": by_rest}


def tensor(values: Any, shape: list[int], name: str = "features", kind: str = "FP32") -> tuple[Any, ...]:
    return ((name, kind, shape, values),)


ROW = [0.0] * FEATURES
REFUSALS: dict[str, tuple[Asked, str, str]] = {
    "no such model": (Asked(model="other"), "NOT_FOUND", "no model is called 'other'"),
    "no version yet": (Asked(model="empty"), "UNAVAILABLE", "no version is published yet"),
    "a version that is not kept": (Asked(parameters={"as_of_version": 99}), "NOT_FOUND", "version 99"),
    "a version that is not kept, by name": (Asked(version="99"), "NOT_FOUND", "version 99"),
    "a version that is no number": (Asked(version="latest"), "INVALID_ARGUMENT", "expected the version of a snap"),
    "a version of 5,000 digits": (Asked(version="9" * 5000), "INVALID_ARGUMENT", "expected the version of a snap"),
    "a version that is true": (Asked(parameters={"as_of_version": True}), "INVALID_ARGUMENT", "whole number"),
    "a damaged version": (Asked(version=str(DAMAGED)), "FAILED_PRECONDITION", ""),
    "a version of other settings": (Asked(version=str(OTHER_SETTINGS)), "FAILED_PRECONDITION", "other settings"),
    "a version that does not come": (
        Asked(parameters={"min_state_version": 10**6}),
        "DEADLINE_EXCEEDED",
        "waited for version",
    ),
    "an unknown output": (Asked(outputs=("scores", "lable")), "INVALID_ARGUMENT", "output 'lable': no such output"),
    "no input": (Asked(tensors=()), "INVALID_ARGUMENT", "input 'features': missing"),
    "an unknown input": (
        Asked(tensors=(GOOD, *tensor(ROW, [1, FEATURES], "x"))),
        "INVALID_ARGUMENT",
        "input 'x': no such input",
    ),
    "an input twice": (Asked(tensors=(GOOD, GOOD)), "INVALID_ARGUMENT", "input 'features': given twice"),
    "another shape": (
        Asked(tensors=tensor([0.0] * 3, [1, 3])),
        "INVALID_ARGUMENT",
        "expected shape (N, 4), got (1, 3)",
    ),
    "no rows' dimension": (Asked(tensors=tensor(ROW, [FEATURES])), "INVALID_ARGUMENT", "expected shape (N, 4)"),
    "one number": (Asked(tensors=tensor([0.0], [])), "INVALID_ARGUMENT", "expected shape (N, 4), got ()"),
    "another type": (Asked(tensors=tensor(ROW, [1, 4], kind="FP64")), "INVALID_ARGUMENT", "expected FP32, got FP64"),
    "no number": (Asked(tensors=tensor([0, NAN, 0, 0], [1, 4])), "INVALID_ARGUMENT", "NaN or infinity in row 0"),
    "infinity": (Asked(tensors=tensor([*ROW, 0, 0, INF, 0], [2, 4])), "INVALID_ARGUMENT", "NaN or infinity in row 1"),
    "one that is no number": (Asked(tensors=tensor([NAN], [])), "INVALID_ARGUMENT", "got NaN or infinity"),
    "what the learner does not take": (Asked(tensors=tensor([-9.0] * 4, [1, 4])), "INVALID_ARGUMENT", "at least -5"),
    "a negative explanation": (Asked(parameters={"explain": -1}), "INVALID_ARGUMENT", "parameter 'explain'"),
    "an explanation in words": (Asked(parameters={"explain": "much"}), "INVALID_ARGUMENT", ""),
    "an explanation that is not offered": (
        Asked(model="plain", parameters={"explain": 3}),
        "UNIMPLEMENTED",
        "does not explain its predictions",
    ),
    "an id where no label comes": (
        Asked(model="plain", parameters={"event_id": "refused"}),
        "UNIMPLEMENTED",
        "has no labels_topic",
    ),
    "an empty id": (Asked(parameters={"event_id": ""}), "INVALID_ARGUMENT", "expected an id"),
    "an id that is a share": (Asked(parameters={"event_id": 1.5}), "INVALID_ARGUMENT", "parameter 'event_id'"),
    "an id for two rows": (
        Asked(tensors=tensor(ROW * 2, [2, 4]), parameters={"event_id": "refused"}),
        "INVALID_ARGUMENT",
        "expected inputs of one row, got 2",
    ),
    "an id for no rows": (
        Asked(tensors=tensor([], [0, 4]), parameters={"event_id": "refused"}),
        "INVALID_ARGUMENT",
        "expected inputs of one row, got 0",
    ),
    "an id for other inputs than events have": (
        Asked(tensors=tensor(ROW, [1, 4], "twice"), parameters={"event_id": "refused"}),
        "INVALID_ARGUMENT",
        "expected the inputs of events",
    ),
}


def holds(house: House, refuse: Callable[[], tuple[str, str]], code: str, text: str, barrier: str) -> None:
    """Refused so, nothing is left of it."""
    events_before, before = house.events(), house.counts()

    got, details = refuse()

    assert (got, text in details) == (code, True), details
    assert house.counts() == {**before, code: before.get(code, 0.0) + 1}
    house.answer_one(barrier)
    assert house.events() == events_before + 1
    assert house.pending.find("rich", ["refused"]) == [None]


@pytest.mark.parametrize("with_id", [False, True], ids=["", "with an id"])
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_request_leaves_no_event_no_waiting_request_and_no_count_of_success(
    house: House, case: str, wire: str, with_id: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_LONGEST_WAIT_SECONDS", 0.5)  # for the version that does not come
    asked, code, text = REFUSALS[case]
    if with_id and "event_id" not in asked.parameters and asked.model != "plain":
        asked = Asked(
            asked.model, asked.version, asked.tensors, asked.outputs, {**asked.parameters, "event_id": "refused"}
        )

    holds(house, lambda: WIRES[wire](house, asked), code, text, f"{case} {wire} {with_id}")


JSON_REFUSALS: dict[str, tuple[str, Any, int, str]] = {
    "parameters that are a list": ("/v2/models/rich/infer", {"parameters": []}, 400, "parameters: expected an object"),
    "parameters that are a list, of a version": (
        f"/v2/models/rich/versions/{CURRENT_VERSION}/infer",
        {"parameters": ["event_id"]},
        400,
        "parameters: expected an object",
    ),
    "an id that is a list": ("/v2/models/rich/infer", {"id": ["1"]}, 400, "id: expected a string"),
    "outputs that are no list": ("/v2/models/rich/infer", {"outputs": {"name": "label"}}, 400, "outputs: expected"),
    "an output without a name": ("/v2/models/rich/infer", {"outputs": [{}]}, 400, "outputs: expected objects"),
    "inputs that are no list": ("/v2/models/rich/infer", {"inputs": 5}, 400, "list 'inputs'"),
    "an unknown datatype": (
        "/v2/models/rich/infer",
        {"inputs": [{"name": "features", "datatype": ["FP32"], "shape": [1, 4], "data": ROW}]},
        400,
        "unknown datatype",
    ),
}


@pytest.mark.parametrize("case", JSON_REFUSALS)
def test_what_only_json_can_say_wrongly_is_a_bad_request_and_leaves_nothing_either(house: House, case: str) -> None:
    path, changes, status, text = JSON_REFUSALS[case]
    good = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": ROW}]}

    def refuse() -> tuple[str, str]:
        answer = post(house, path, {**good, **changes})
        assert answer.status_code == status
        return "INVALID_ARGUMENT", answer.json()["error"]

    holds(house, refuse, "INVALID_ARGUMENT", text, case)


@pytest.mark.parametrize("wire", WIRES)
def test_too_many_waiting_requests_are_refused_and_leave_nothing(house: House, wire: str) -> None:
    asked = Asked(parameters={"min_state_version": 10**6, "event_id": "refused"})

    with house.slots.to_wait("the only slot is taken"):
        holds(
            house,
            lambda: WIRES[wire](house, asked),
            "RESOURCE_EXHAUSTED",
            "too many requests are waiting for versions",
            f"wait {wire}",
        )


@pytest.mark.parametrize("patience", [0.0, -1.0])
def test_a_deadline_that_has_passed_leaves_nothing(house: House, patience: float) -> None:
    """Of the core itself: no client sends a deadline that has passed."""

    def refuse() -> tuple[str, str]:
        options = RequestOptions("rich", event_id="refused")
        request = InferenceRequest(options, {"features": np.zeros((1, 4), np.float32)}, patience)
        with pytest.raises(DeadlineExceeded) as caught:
            InferenceCore(house.models).infer(request)
        house.metrics.answered("rich", "DEADLINE_EXCEEDED", 0.0, 0)
        return "DEADLINE_EXCEEDED", str(caught.value)

    holds(house, refuse, "DEADLINE_EXCEEDED", "", f"{patience}")


@pytest.mark.parametrize("wire", ["grpc", "rest"])
def test_a_request_that_is_answered_is_an_event_waits_for_its_label_and_is_counted(house: House, wire: str) -> None:
    """Or the tests above could not fail."""
    events_before, before = house.events(), house.counts()
    asked = Asked(outputs=("scores",), parameters={"event_id": f"kept {wire}", "explain": 2})
    if wire == "grpc":
        response = house.stub.ModelInfer(over_grpc(asked), timeout=60)
        assert [output.name for output in response.outputs] == ["scores"]
        explanation = response.parameters["explanation"].string_param
    else:
        body = {
            "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": ROW}],
            "outputs": [{"name": "scores"}],
            "parameters": dict(asked.parameters),
        }
        answer = post(house, "/v2/models/rich/infer", body).json()
        assert [output["name"] for output in answer["outputs"]] == ["scores"]
        explanation = str(answer["parameters"]["explanation"]).replace("'", '"')

    assert explanation == '[[{"most": 2}]]'
    assert house.counts() == {**before, "OK": before["OK"] + 1}
    until("its event", lambda: house.events() == events_before + 1, 60)
    until("its place among those that wait", lambda: house.pending.find("rich", [f"kept {wire}"])[0] is not None, 60)
