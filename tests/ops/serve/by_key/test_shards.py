"""The shards of a model by key as they come, go and grow: what is answered, and what is told."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.ops.serve.by_key.sharded import PartitionedLog, ShardedServer, key_for, served_by_key
from tests.services.processes import until
from thalweg.memory.snapshots.state import State
from thalweg.ops.serve.by_key.partitions import MOVED_SECONDS, PartitionCount, Topic
from thalweg.ops.serve.by_key.predictor import Partitions
from thalweg.proto import thalweg_pb2, thalweg_pb2_grpc
from thalweg.stream.log.log import LogError
from thalweg.stream.shards.partitioner import partition_of

ROW = [1.0, 0.0, 0.0, 0.0]
ALL = (0, 1, 2)


def predict(parts: ShardedServer, key: str) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{parts.server.http_port}/v1/models/m/predict", json={"features": ROW, "key": key}
    )


def label_of(parts: ShardedServer, partition: int) -> str:
    predictor = parts.learners[partition].predictor()
    return predictor.classes[predictor.predict({"features": np.array([ROW], dtype=np.float32)})["label"][0]]


def readyz(parts: ShardedServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{parts.server.http_port}/readyz").json()
    return found


def look(parts: ShardedServer) -> None:
    """Ask the log, and follow; as the threads do at intervals."""
    parts.subscriber.partitions.look()
    parts.subscriber.follow()


def test_the_keys_of_a_shard_without_a_version_are_refused_and_the_others_answered(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 3, [ALL, ALL]) as parts:
        until("the model answers", lambda: not parts.model.unready())

        missing, there = predict(parts, key_for(2, 3)), predict(parts, key_for(1, 3))
        both = httpx.post(
            f"http://127.0.0.1:{parts.server.http_port}/v1/models/m/predict",
            json=[{"features": ROW, "key": key_for(place, 3)} for place in (0, 2)],
        )

        assert (missing.status_code, there.status_code, both.status_code) == (503, 200, 503)
        assert "the key's shard, m~2, gives no answer: no version is published yet" in missing.json()["error"]
        until("health tells", lambda: any("m~2" in one for one in readyz(parts)["degraded"]))
        assert readyz(parts)["ready"]

        parts.learn(2, ALL)

        until("its keys are answered", lambda: predict(parts, key_for(2, 3)).status_code == 200)
        until("health is well", lambda: not any("m~2" in one for one in readyz(parts)["degraded"]))


def test_a_shard_that_has_learned_nothing_gives_no_answer(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2, [ALL]) as parts:
        parts.publish(1, parts.learners[0].predictor(), learned=0)
        until("both shards are there", lambda: all(one.subscriber.current for one in parts.subscriber.shards[:2]))
        until("the model answers", lambda: not parts.model.unready())

        answer = predict(parts, key_for(1, 2))

        assert answer.status_code == 503
        assert "m~1, gives no answer: has learned nothing yet; ready after 1 labelled event" in answer.json()["error"]


def test_a_model_none_of_whose_shards_answers_is_not_ready_and_names_them(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2) as parts:
        look(parts)
        answer = predict(parts, "a")

        assert answer.status_code == 503
        assert "no version is published yet" in answer.json()["error"]
        assert not readyz(parts)["ready"]
        assert not httpx.get(f"http://127.0.0.1:{parts.server.http_port}/v2/models/m/ready").json()["ready"]


def test_keys_move_once_every_new_shard_has_a_version_and_that_is_told_once(tmp_path: Path) -> None:
    with capture_logs() as logs, served_by_key(tmp_path, 2, [ALL, ALL]) as parts:
        until("the model answers", lambda: not parts.model.unready())
        moved = next(key for key in map(str, range(1000)) if partition_of(key.encode(), 4) == 3)
        before = partition_of(moved.encode(), 2)
        parts.log.partitions = 4
        look(parts)
        parts.learn(2, ALL)
        until("the first new shard is there", lambda: parts.subscriber.shards[2].subscriber.current)
        parts.subscriber.follow()

        assert predict(parts, moved).json()["label"] == label_of(parts, before)
        until(
            "health tells", lambda: any("topic 'm.events' has 4 partitions" in one for one in readyz(parts)["degraded"])
        )

        parts.learn(3, ALL)
        until("keys have moved", lambda: predict(parts, moved).json()["label"] == label_of(parts, 3))
        for _ in range(3):
            look(parts)
        until("health tells", lambda: any("keys have moved" in one for one in readyz(parts)["degraded"]))

    told = [one for one in logs if "keys of a model have moved" in one["event"]]
    assert [(one["model"], one["before"], one["partitions"]) for one in told] == [("m", 2, 4)]
    assert len([one for one in logs if "waiting for the new shards" in one["event"]]) == 1


def test_that_keys_have_moved_is_told_for_a_minute(tmp_path: Path) -> None:
    asked, now = Topic(2), [100.0]
    count = PartitionCount("m", "events", lambda: asked, tmp_path / "m", ticks=lambda: now[0])
    count.look()
    assert count.settle(2) == ""
    asked = Topic(3)
    count.look()

    assert "keys are sent to shards by 2 until every new shard has a version" in count.settle(2)
    assert "keys have moved: topic 'events' has 3 partitions after 2" in count.settle(3)
    now[0] += MOVED_SECONDS - 1
    assert "keys have moved" in count.settle(3)
    now[0] += 1
    assert count.settle(3) == ""
    assert PartitionCount("m", "events", lambda: asked, tmp_path / "m").in_use == Partitions(3, 2)


def test_until_its_new_shard_has_learned_a_key_is_answered_by_the_one_before(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2, [ALL, ALL]) as parts:
        until("the model answers", lambda: not parts.model.unready())
        moved = next(key for key in map(str, range(1000)) if partition_of(key.encode(), 3) == 2)
        before = partition_of(moved.encode(), 2)
        parts.log.partitions = 3
        look(parts)
        parts.publish(2, parts.learners[0].predictor(), learned=0)
        until("the number counts", lambda: parts.subscriber.partitions.in_use.count == 3)

        assert predict(parts, moved).json()["label"] == label_of(parts, before)

        parts.learn(2, ALL)
        until("its shard answers", lambda: predict(parts, moved).json()["label"] == label_of(parts, 2))


def test_a_server_that_cannot_reach_the_log_goes_on_with_the_number_that_was_kept(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 3, [ALL] * 3) as parts:
        until("the model answers", lambda: not parts.model.unready())
    log = PartitionedLog(3)
    log.away = True

    with served_by_key(tmp_path, 3, log=log) as parts:
        assert predict(parts, key_for(1, 3)).status_code == 200
        until("health tells", lambda: any("no broker answers" in one for one in readyz(parts)["degraded"]))
        assert json.loads((tmp_path / "live" / "m" / "partitions.json").read_text())["partitions"] == 3


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"partitions": 0, "before": 0, "identity": null}', b'{"partitions": "x"}']
)
def test_without_log_and_number_it_says_what_it_waits_for(tmp_path: Path, content: bytes) -> None:
    """A damaged file is none."""
    log = PartitionedLog(2)
    log.away = True
    (tmp_path / "live" / "m").mkdir(parents=True)
    (tmp_path / "live" / "m" / "partitions.json").write_bytes(content)

    with served_by_key(tmp_path, 2, log=log) as parts:
        answer = predict(parts, "a")

        assert answer.status_code == 503
        assert "the number of partitions of topic 'm.events' is not known yet" in answer.json()["error"]

        log.away = False
        parts.learn(0, ALL)
        parts.learn(1, ALL)
        look(parts)
        until("it answers", lambda: predict(parts, "a").status_code == 200)


def test_fewer_partitions_than_before_are_not_believed_unless_the_topic_is_another(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 3, [ALL] * 3) as parts:
        until("the model answers", lambda: not parts.model.unready())
        key = next(
            key for key in map(str, range(1000)) if partition_of(key.encode(), 3) != partition_of(key.encode(), 2)
        )
        parts.log.partitions = 2
        look(parts)

        assert parts.subscriber.partitions.in_use.count == 3
        assert "keys are sent to shards by 3" in parts.subscriber.problem()
        assert predict(parts, key).json()["label"] == label_of(parts, partition_of(key.encode(), 3))

        parts.log.topic = "second"
        look(parts)

        assert parts.subscriber.partitions.in_use.count == 2
        assert predict(parts, key).json()["label"] == label_of(parts, partition_of(key.encode(), 2))


def test_the_log_is_never_asked_on_the_way_of_a_request(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    with served_by_key(tmp_path, 2, [ALL, ALL], log=log) as parts:
        until("the model answers", lambda: not parts.model.unready())

        def refuse() -> Any:
            raise LogError("asked by a request")

        parts.subscriber.partitions._ask = refuse

        assert [predict(parts, str(number)).status_code for number in range(20)] == [200] * 20


def test_a_version_that_is_only_confirmed_keeps_the_predictor(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2, [ALL, ALL]) as parts:
        until("the model answers", lambda: not parts.model.unready())
        before = parts.model.versions.newest
        for publisher in parts.publishers.values():
            publisher.confirm(publisher._info.published_at + 0.001)  # type: ignore[union-attr]

        until("both are confirmed", lambda: parts.model.versions.newest.info.as_of > before.info.as_of)

        assert parts.model.versions.newest.predictor is before.predictor
        assert parts.model.versions.newest.info.version == before.info.version


def test_a_damaged_version_of_one_shard_leaves_the_one_before_in_use(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2, [ALL, ALL]) as parts:
        until("the model answers", lambda: not parts.model.unready())
        key = key_for(1, 2)

        class Broken:
            def state(self) -> Any:
                return State({}, {})

        parts.publish(1, Broken())  # type: ignore[arg-type]

        until("health tells", lambda: any("m~1: the published version" in one for one in readyz(parts)["degraded"]))
        assert predict(parts, key).json()["label"] == label_of(parts, 1)


def test_a_snapshot_is_taken_of_every_shard_and_a_rollback_is_of_one(tmp_path: Path) -> None:
    with served_by_key(tmp_path, 2, [ALL, ALL]) as parts:
        until("the model answers", lambda: not parts.model.unready())

        def learn() -> None:
            for partition in (0, 1):
                (asked,) = until("the command", lambda name=f"m~{partition}": parts.commands.poll(name))
                parts.commands.respond(asked.id, {"version": 10 + partition})

        learners = threading.Thread(target=learn, daemon=True)
        learners.start()
        with grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as channel:
            stub = thalweg_pb2_grpc.LearningServiceStub(channel)
            taken = stub.Snapshot(thalweg_pb2.SnapshotRequest(model="m"))
            with pytest.raises(grpc.RpcError) as refused:
                stub.Rollback(thalweg_pb2.RollbackRequest(model="m", version=1))
        learners.join()

    assert taken.version == 21
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "each of its shards has snapshots of its own" in refused.value.details()
