"""Models by key beside what else a server has: a point process's own keys, aliases, labels, traces and freshness."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.models.prompt_tpp.test_learner import learner as point_process
from tests.ops.serve.by_key.sharded import PartitionedLog, ShardedServer, events_of, key_for, served_by_key
from tests.ops.serve.serving import FEATURES, NAMES, SPECS
from tests.services.processes import until
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.nearest_mean import NearestMean
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.serving import by_key
from thalweg.ops.serve.aliases import Alias, AliasLocation
from thalweg.ops.serve.by_key.keys import record_keys
from thalweg.ops.serve.champions.shadow import Shadow
from thalweg.ops.serve.following.location import ByKey, ModelLocation
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.thalweg_pb2 import Event
from thalweg.stream.freshness.cohorts import cohort_writer
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.shards.partitioner import partition_of

ROW = [1.0, 0.0, 0.0, 0.0]
ALL = (0, 1, 2)


def sequences(keys: list[str], types: tuple[str, ...]) -> Batch:
    """Five events of each key, a second apart."""
    told = [key for key in keys for _ in range(5)]
    column = np.empty(len(told), dtype=object)
    column[:] = [key.encode() for key in told]
    codes = np.arange(len(told), dtype=np.int32) % len(types)
    return Batch({"key": column}, ClassLabels(codes, types), np.ones(len(told)), np.arange(len(told), dtype=float))


@pytest.fixture(scope="module")
def point_processes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two shards of a point process, which have seen different types."""
    schema = point_process().schema
    keys = [f"u{number}" for number in range(20)]
    with served_by_key(tmp_path_factory.mktemp("point"), 2, schema=schema, build=PromptTpp.predictor_from) as parts:
        for partition, types in enumerate((("view", "buy"), ("open", "view"))):
            learner = parts.learners[partition] = point_process()
            learner.learn(sequences([one for one in keys if partition_of(one.encode(), 2) == partition], types))
            parts.publish(partition, learner.predictor(), learned=100)
        until("both shards answer", lambda: (now := parts.subscriber.current) and now.info.version == 2)
        yield parts


def ask(parts: ShardedServer, path: str, body: Any) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{parts.server.http_port}{path}", json=body)


def test_the_key_of_a_point_process_is_its_input_and_its_route(point_processes: ShardedServer) -> None:
    keys = ["u3", "u4", "u5", "u6", "u7"]

    rows = ask(point_processes, "/v1/models/m/predict", [{"key": key} for key in keys]).json()

    for key, row in zip(keys, rows):
        predictor = point_processes.learners[partition_of(key.encode(), 2)].predictor()
        own = predictor.predict({"key": np.array([key.encode()], dtype=object)})
        assert row["next_time"] == own["next_time"][0]
        assert row["next_type"] == predictor.classes[own["next_type"][0]]
        assert {name: row["probabilities"][name] for name in predictor.classes} == dict(
            zip(predictor.classes, own["type_scores"][0].tolist())
        )


def test_a_history_is_answered_by_the_shard_of_the_key_beside_it(point_processes: ShardedServer) -> None:
    classes = point_processes.model.versions.newest.predictor.classes
    times, types = [[0.0, 1.0, 2.0]], [[classes.index("view"), classes.index("buy"), classes.index("view")]]
    inputs = [
        {"name": "times", "datatype": "FP64", "shape": [1, 3], "data": times},
        {"name": "types", "datatype": "INT64", "shape": [1, 3], "data": types},
    ]
    of = [
        next(one for one in map("u{}".format, range(20)) if partition_of(one.encode(), 2) == place) for place in (0, 1)
    ]

    answer = ask(point_processes, "/v2/models/m/infer", {"inputs": inputs, "parameters": {"key": of[0]}})
    unseen = ask(point_processes, "/v2/models/m/infer", {"inputs": inputs, "parameters": {"key": of[1]}})
    keyless = ask(point_processes, "/v2/models/m/infer", {"inputs": inputs})

    predictor = point_processes.learners[0].predictor()
    own = predictor.predict(
        {"times": np.array(times), "types": np.array([[predictor.classes.index(classes[one]) for one in types[0]]])}
    )
    found = {one["name"]: one["data"] for one in answer.json()["outputs"]}
    assert found["next_time"] == own["next_time"].tolist()
    assert classes[found["next_type"][0]] == predictor.classes[own["next_type"][0]]
    assert (unseen.status_code, keyless.status_code) == (400, 400)
    assert "expected classes that the key's shard has seen, got 'buy'" in unseen.json()["error"]
    assert "expected a key for each row" in keyless.json()["error"]


def test_an_event_whose_key_is_an_input_goes_to_the_shard_of_that_key(point_processes: ShardedServer) -> None:
    keys = ["u1", "u2", "u3", "ü4"]
    rows = [{"inputs": {"key": key}, "time": 1700000000, "label": "view"} for key in keys]

    acks = ask(point_processes, "/v1/models/m/events", rows).json()

    assert [ack["partition"] for ack in acks] == [partition_of(key.encode(), 2) for key in keys]
    own = ask(point_processes, "/v1/models/m/events", {**rows[0], "key": "elsewhere"}).json()
    assert own["partition"] == partition_of(b"elsewhere", 2)


def test_the_key_of_a_record_is_the_events_own_or_else_its_input() -> None:
    column = np.array([b"a", b"", b"c"], dtype=object)
    batch = Batch({"key": column}, None, np.ones(3), np.zeros(3), keys=[None, None, "z"])

    assert record_keys(batch, as_input=True) == [b"a", None, b"z"]
    assert record_keys(batch, as_input=False) == [None, None, b"z"]


def test_a_request_that_waits_for_its_label_keeps_its_key(tmp_path: Path) -> None:
    pending = InMemoryPending()
    buffer = RequestBuffer({"m": pending})

    with served_by_key(tmp_path, 2, [ALL, ALL], labels_topic="labels", sinks=RequestSinks(buffer)) as parts:
        until("the model answers", lambda: not parts.model.unready())
        rows = [{"features": ROW, "key": key, "id": f"e-{key}"} for key in ("a", "b")]
        assert ask(parts, "/v1/models/m/predict", rows).status_code == 200
        until("both are kept", lambda: buffer.remembered["m"] == 2)
        inputs = [
            {"name": "features", "datatype": "FP32", "shape": [1, FEATURES], "data": ROW},
            {"name": "key", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
        ]
        head = json.dumps({"inputs": inputs, "parameters": {"event_id": "e-3"}}).encode()
        refused = httpx.post(
            f"http://127.0.0.1:{parts.server.http_port}/v2/models/m/infer",
            content=head + b"\x02\0\0\0\xff\xfe",
            headers={"inference-header-content-length": str(len(head))},
        )

    kept = [one for one in pending.find("m", ["e-a", "e-b"]) if one is not None]
    assert [Event.FromString(one.value).key for one in kept] == ["a", "b"]
    assert refused.status_code == 400
    assert "expected valid UTF-8 where a label is waited for" in refused.json()["error"]


def mean_location(folder: Path) -> tuple[ModelLocation, FilePublisher]:
    """An ordinary model of the same events, with one version."""
    learner = NearestMean(LearnerContext(inputs=SPECS, params={}, seed=0))
    learner.learn(events_of(0, ALL))
    publisher = FilePublisher(folder / "live" / "mean")
    publisher.publish(learner.predictor(), version=1, learned_events=200, event_time=1.0)
    location = ModelLocation(
        name="mean",
        learner="nearest_mean",
        topic="m.events",
        live=folder / "live" / "mean",
        state=folder / "state" / "mean",
        schema=learner.schema,
        build=NearestMean.predictor_from,
        restore=NearestMean.predictor_from,
    )
    return location, publisher


@pytest.mark.parametrize("champion", ["m", "mean"])
def test_under_an_alias_a_key_is_taken_whoever_answers_and_the_other_gets_its_copies(
    tmp_path: Path, champion: str
) -> None:
    parts = ShardedServer(tmp_path, 2)
    parts.learn(0)
    parts.learn(1)
    other, publisher = mean_location(tmp_path)
    models = Models([parts.location, other])
    counts: Counter[tuple[str, str]] = Counter()
    shadow = Shadow(HealthRegistry())
    shadow.told = lambda alias, model, outcome, seconds: counts.update([(model, outcome)])
    location = AliasLocation("both", champion, ("m", "mean"), tmp_path / "promotions.jsonl", shadow=1.0)
    models.serve_under([Alias(location, models.by_name, shadow)], shadow)
    for model in models.all():
        subscriber: Any = model.versions.subscriber
        if model.keys is not None:
            subscriber.partitions.look()
            subscriber.follow()
        else:
            subscriber.look()
    key = np.array([key_for(1, 2).encode()], dtype=object)
    features = np.array([ROW], dtype=np.float32)

    response = InferenceCore(models).infer(InferenceRequest(RequestOptions("both"), {"features": features, "key": key}))
    shadow.compute_waiting()

    predictor = response.served.predictor
    label = predictor.classes[response.outputs["label"][0]]
    if champion == "m":
        own = parts.learners[1].predictor()
        assert label == own.classes[own.predict({"features": features})["label"][0]]
    else:
        assert label in NAMES
    ((challenger, outcome),) = counts
    assert challenger == ({"m", "mean"} - {champion}).pop()
    assert outcome in ("agreed", "differed")
    models.close()
    publisher.close()
    parts.close()


def test_its_freshness_is_that_of_all_its_shards(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2, [ALL, ALL]) as parts:
        until("the model answers", lambda: not parts.model.unready())
        now = parts.model._clock()
        for partition, records in ((0, 30), (1, 12)):
            writer = cohort_writer(tmp_path / "live" / f"m~{partition}")
            writer.append(parts.versions[partition] + 1, now, records, 0)
            parts.learn(partition)

        until("both are counted", lambda: sum(parts.model.freshness.counted()[0][0]) == 42)
        assert parts.model.freshness.budget_remaining() is not None


def test_what_a_server_needs_follows_from_the_configuration() -> None:
    table = {"name": "m", "learner": "ridge", "topic": "m.events", "inputs": {"x": {"dtype": "float32", "shape": [2]}}}
    log = PartitionedLog(5)
    keyed = by_key(ModelConfig.model_validate({**table, "scale": {"answers": "key", "without_key": "mean"}}), log)

    assert keyed is not None
    assert isinstance(keyed, ByKey)
    assert keyed.topic().partitions == 5
    assert keyed.without_key == "mean"
    assert by_key(ModelConfig.model_validate(table), log) is None
    assert by_key(ModelConfig.model_validate({**table, "scale": {"answers": "merge"}}), log) is None
    log.partitions = 0
    assert keyed.topic().partitions == 0


def test_without_a_key_the_mean_answers_where_the_model_says_so(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2, [ALL, ALL], without_key="mean") as parts:
        until("the model answers", lambda: not parts.model.unready())
        key = key_for(0, 2)

        rows = ask(parts, "/v1/models/m/predict", [{"features": ROW}, {"features": ROW, "key": key}]).json()
        explained = ask(parts, "/v1/models/m/predict?explain=3", {"features": ROW})

    scores = []
    for learner in parts.learners.values():
        predictor = learner.predictor()
        (own,) = predictor.predict({"features": np.array([ROW], dtype=np.float32)})["scores"]
        scores.append(dict(zip(predictor.classes, own.tolist())))
    assert rows[0]["scores"] == pytest.approx({name: (scores[0][name] + scores[1][name]) / 2 for name in NAMES})
    assert rows[0]["label"] == max(rows[0]["scores"], key=rows[0]["scores"].get)
    assert rows[1]["scores"] == pytest.approx(scores[0])
    assert explained.status_code == 501
