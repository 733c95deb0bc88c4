"""Under an alias the champion answers; a promotion refuses no request and takes no version back."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.ops.serve.serving import FEATURES, events
from tests.services.processes import until
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots, UnknownVersion
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.nearest_mean import NearestMean
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.aliases import VERSIONS_PER_PROMOTION, Alias, AliasLocation
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.versions import Freshness
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.proto.decode_protobuf import ProtobufDecoder
from thalweg.proto.schema import TensorSpec
from thalweg.proto.thalweg_pb2 import Event
from thalweg.stream.journal.promotions import Promotions
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.traces.awaited import AwaitedAnswers
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.handed_on import HandedOn
from thalweg.stream.traces.spans import InMemorySpans

SPECS = {"features": TensorSpec("features", "float32", (FEATURES,))}
MAKERS = {
    "ridge": lambda: Ridge(LearnerContext(inputs=SPECS, params={"expansion": 0}, seed=0)),
    "mean": lambda: NearestMean(LearnerContext(inputs=SPECS, params={}, seed=0)),
}
X = np.eye(FEATURES, dtype=np.float32)[:1]


class World:
    """Two models that learn and publish, and servers with an alias over both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.learners: dict[str, Any] = {name: make() for name, make in MAKERS.items()}
        self.publishers = {name: FilePublisher(folder / "live" / name) for name in MAKERS}
        self.versions = dict.fromkeys(MAKERS, 0)
        self.promotions = Promotions(folder / ".aliases" / "fraud.jsonl")

    def location(self, name: str, labels_topic: str = "") -> ModelLocation:
        def restore(state: Any) -> Any:
            learner = MAKERS[name]()
            learner.restore(state)
            return learner.predictor()

        return ModelLocation(
            name=name,
            learner=name,
            topic="events",
            live=self.folder / "live" / name,
            state=self.folder / name,
            schema=self.learners[name].schema,
            labels_topic=labels_topic,
            ready_after_events=1,
            build=type(self.learners[name]).predictor_from,
            restore=restore,
        )

    def models(self, buffer: RequestBuffer | None = None) -> Models:
        topic = "" if buffer is None else "labels"
        models = Models([self.location(name, topic) for name in MAKERS], RequestSinks(buffer))
        location = AliasLocation("fraud", "ridge", ("ridge", "mean"), self.folder / ".aliases" / "fraud.jsonl")
        models.serve_under([Alias(location, models.by_name)])
        return models

    def learn(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.learners[name].learn(events(30, seed=self.versions[name]))
            self.versions[name] += 1
        self.publishers[name].publish(
            self.learners[name].predictor(),
            version=self.versions[name],
            learned_events=30 * self.versions[name],
            event_time=1.0,
        )

    def save(self, name: str) -> None:
        manifest = Manifest(
            model=name,
            version=self.versions[name],
            parent=None,
            learner=name,
            config_sha256="",
            offsets={},
            events_learned=30 * self.versions[name],
            created=1.0,
        )
        FolderSnapshots(self.folder / name).save(manifest, {"learner": self.learners[name].state()})

    def promote(self, name: str) -> None:
        self.promotions.promote(name, self.promotions.read()[-1])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for publisher in made.publishers.values():
        publisher.close()


@pytest.fixture
def models(world: World) -> Iterator[Models]:
    world.learn("ridge", 7)
    world.learn("mean", 3)
    made = world.models()
    made.start()
    until("both are loaded", lambda: all(model.versions.newest for model in made.all()))
    yield made
    made.close()


def asked(models: Models, **freshness: int) -> Any:
    wanted = RequestOptions("fraud", freshness=Freshness(**freshness)) if freshness else RequestOptions("fraud")
    return InferenceCore(models).infer(InferenceRequest(wanted, {"features": X}, 5.0)).served


def test_under_an_alias_the_first_answer_is_that_of_the_models_own_version(world: World, models: Models) -> None:
    spans = InMemorySpans()
    world.promote("mean")
    until("the server follows", lambda: asked(models).info.version > VERSIONS_PER_PROMOTION)
    awaiting = models.by_name["mean"].awaiting = AwaitedAnswers("mean", world.folder / "live" / "mean", spans)
    answering = models.find("fraud")
    answering.awaiting = awaiting
    awaiting.awaited = (HandedOn(4, TraceContext(1, 2, 1), 0.0),)

    asked(models)  # of version 3 still
    assert not spans.ended
    world.learn("mean")
    until("version 4 answers", lambda: asked(models).info.version % VERSIONS_PER_PROMOTION == 4)

    assert [(span.name, span.attributes["thalweg.version"]) for span in spans.ended] == [("first answer mean", 4)]


def test_the_version_of_an_alias_moves_only_forward_over_promotions_and_back(world: World, models: Models) -> None:
    seen = [asked(models).info.version]
    for name in ("mean", "ridge", "mean"):
        world.promote(name)
        until("it answers", lambda name=name: models.find("fraud").answering.name == name)
        seen.append(asked(models).info.version)
        assert asked(models, at_least=max(seen)).info.version == seen[-1]  # at once: it is no wait for another model
        assert asked(models, at_least=seen[0]).info.version == seen[-1]

    assert seen == [7, VERSIONS_PER_PROMOTION + 3, 2 * VERSIONS_PER_PROMOTION + 7, 3 * VERSIONS_PER_PROMOTION + 3]
    assert asked(models).predictor is models.find("mean").versions.current().predictor


def test_a_caller_that_has_seen_a_promotion_on_another_server_sees_it_here(world: World, tmp_path: Path) -> None:
    world.learn("ridge", 7)
    world.learn("mean", 3)
    models = world.models()
    for model in models.all():
        model.versions.subscriber.look()  # type: ignore[attr-defined]
    world.promote("mean")

    assert asked(models).info.version == 7  # nobody has looked yet
    assert asked(models, at_least=VERSIONS_PER_PROMOTION + 2).info.version == VERSIONS_PER_PROMOTION + 3


def test_a_version_of_a_champion_before_is_found_after_a_promotion(world: World, models: Models) -> None:
    world.save("ridge")
    before = asked(models, as_of=7).predictor.predict({"features": X})
    world.promote("mean")
    until("it answers", lambda: models.find("fraud").answering.name == "mean")

    after = asked(models, as_of=7)

    assert after.info.version == 7
    assert all((before[name] == array).all() for name, array in after.predictor.predict({"features": X}).items())
    with pytest.raises(UnknownVersion, match="no model of it has version 2000000000001"):
        asked(models, as_of=2 * VERSIONS_PER_PROMOTION + 1)


def test_a_promoted_model_that_cannot_answer_yet_refuses_nothing(world: World) -> None:
    world.learn("ridge")
    models = world.models()
    models.start()
    until("the champion answers", lambda: not models.reasons())  # the challenger may take its time
    world.promote("mean")
    until("it is told", lambda: models.follow())

    assert asked(models).info.version == 1
    assert "mean is promoted and cannot answer yet" in models.follow()[0]
    world.learn("mean")
    until("it answers", lambda: models.find("fraud").answering.name == "mean")
    models.close()


def test_whether_a_server_dies_before_or_after_a_promotion_it_answers_as_recorded(world: World) -> None:
    world.learn("ridge")
    world.learn("mean")
    world.models()  # records the first champion, and is gone
    assert world.models().find("fraud").answering.name == "ridge"
    world.promote("mean")  # nobody serves at this moment

    again = world.models()

    assert again.find("fraud").answering.name == "mean"
    assert again.find("fraud").base == VERSIONS_PER_PROMOTION


def test_no_request_over_grpc_or_http_is_refused_by_a_promotion_and_all_interfaces_know_the_alias(
    world: World, models: Models, tmp_path: Path
) -> None:
    workers, log = workers_of(ServerLimits()), InMemoryLog()
    health = ServiceHealth(models, models.registry)
    metrics = ServerMetrics(tmp_path / "live", models, health)
    addresses = Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0")
    server = Server(
        models, log, InMemoryCommandQueue(), workers=workers, addresses=addresses, telemetry=metrics, health=health
    )
    server.start()
    request = pb.ModelInferRequest(model_name="fraud")
    request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(X.tobytes())
    body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, FEATURES], "data": X[0].tolist()}]}
    seen: dict[str, list[int]] = {"grpc": [], "http": []}
    failed: list[BaseException] = []
    done = threading.Event()
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)

    def get(path: str, content: Any = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}", data) as answer:
            return json.loads(answer.read())

    def by_grpc() -> int:
        return int(stub.ModelInfer(request).parameters["state_version"].int64_param)

    def by_http() -> int:
        return int(get("/v2/models/fraud/infer", body)["parameters"]["state_version"])

    def ask(kind: str, once: Any) -> None:
        try:
            while not done.is_set():
                seen[kind].append(once())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=pair) for pair in (("grpc", by_grpc), ("http", by_http))]
    for thread in threads:
        thread.start()
    for number, name in enumerate(("mean", "ridge", "mean"), 1):
        until("some were answered", lambda n=number: all(len(one) > 20 * n for one in seen.values()) or failed)
        world.learn("mean")
        world.promote(name)
        until("the promoted one answers", lambda n=number: _all_answered_by(seen, n) or failed)
    done.set()
    for thread in threads:
        thread.join()

    assert not failed
    assert all(one == sorted(one) for one in seen.values())
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="fraud"))
    assert metadata.properties["champion"] == "mean"
    assert metadata.versions == [str(3 * VERSIONS_PER_PROMOTION + world.versions["mean"])]
    assert get("/v2/models/fraud")["properties"]["champion"] == "mean"
    assert get("/v2/models/fraud/ready")["ready"]
    assert stub.ModelReady(pb.ModelReadyRequest(name="fraud", version=metadata.versions[0])).ready
    assert "fraud" in {one.name for one in stub.RepositoryIndex(pb.RepositoryIndexRequest()).models}
    assert health.serving()["fraud"]
    listed = {one["name"]: one["champion_of"] for one in get("/api/models")["models"]}
    assert listed == {"ridge": [], "mean": ["fraud"]}
    page = metrics.render()[0].decode()
    assert 'thalweg_promotions_total{alias="fraud"} 3.0' in page
    assert 'thalweg_alias_champion{alias="fraud",model_name="mean"} 1.0' in page
    assert 'thalweg_alias_champion{alias="fraud",model_name="ridge"} 0.0' in page
    assert 'model_name="unknown"' not in page
    channel.close()
    server.close()


def _all_answered_by(seen: dict[str, list[int]], number: int) -> bool:
    return all(one[-1] // VERSIONS_PER_PROMOTION == number for one in seen.values())


def test_a_request_waits_for_its_label_for_challengers_too_with_the_answer_of_the_champion_alone(world: World) -> None:
    pendings = {name: InMemoryPending() for name in MAKERS}
    models = world.models(RequestBuffer(pendings))
    world.learn("ridge")
    models.start()
    until("the champion answers", lambda: not models.find("fraud").unready())

    InferenceCore(models).infer(InferenceRequest(RequestOptions("fraud", event_id="late"), {"features": X}))
    models.close()

    decoder = ProtobufDecoder(models.find("fraud").schema)
    found = {name: pendings[name].find(name, ["late"])[0] for name in MAKERS}
    events = {name: decoder.event(Event.FromString(one.value), 1.0) for name, one in found.items() if one is not None}
    assert {name: batch.inputs["features"].tolist() for name, batch in events.items()} == dict.fromkeys(
        MAKERS, X.tolist()
    )
    assert events["ridge"].served is not None
    assert events["mean"].served is None
