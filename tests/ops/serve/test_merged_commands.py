"""Operators' commands to a served model that was merged of shards: no learner has its name."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest

from tests.ops.serve.serving import RunningServer, served
from tests.services.processes import until
from thalweg.proto import thalweg_pb2, thalweg_pb2_grpc
from thalweg.stream.merging.merger import _Merged
from thalweg.stream.publication.ports import VersionInfo


def merged(parts: RunningServer, *numbers: int) -> None:
    """Publish what the server follows as a version merged of these shards."""
    info = VersionInfo(version=1, learned_events=100, event_time=1.0, published_at=1.0, as_of=1.0, pid=1)
    parts.version += 1
    parts.publisher.publish(
        _Merged(parts.learner.predictor(), dict.fromkeys(numbers, info)),  # type: ignore[arg-type]
        version=parts.version,
        learned_events=300,
        event_time=1.0,
    )
    subscriber = parts.server.models.find("m").versions.subscriber
    until("the merged version", lambda: subscriber.current is not None and set(subscriber.current.shards) == {*numbers})


def test_a_snapshot_is_taken_of_every_shard_and_a_rollback_is_refused_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as parts:
        merged(parts, 3, 0)

        def learn() -> None:
            for number in (0, 3):
                (asked,) = until("the command", lambda name=f"m~{number}": parts.store.poll(name))
                parts.store.respond(asked.id, {"version": 10 + number})

        learners = threading.Thread(target=learn, daemon=True)
        learners.start()
        with grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as channel:
            stub = thalweg_pb2_grpc.LearningServiceStub(channel)
            taken = stub.Snapshot(thalweg_pb2.SnapshotRequest(model="m"))
            with pytest.raises(grpc.RpcError) as refused:
                stub.Rollback(thalweg_pb2.RollbackRequest(model="m", version=1))
        learners.join()
        assert parts.store.poll("m") == []

    assert taken.version == 23
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "each of its shards has snapshots of its own" in refused.value.details()
    assert "--model m~0`" in refused.value.details()
