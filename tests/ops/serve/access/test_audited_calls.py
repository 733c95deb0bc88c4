"""Who acts on a model over gRPC or on the page stands in the audit log by the name of the token, never by the token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.ops.serve.serving import RunningServer, served
from tests.services.processes import PATIENCE
from thalweg.memory.audit import audit_log
from thalweg.memory.exchange.audited import AuditedCommands
from thalweg.ops.serve.access.callers import actor
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.proto import thalweg_pb2, thalweg_pb2_grpc

TOKEN, OTHER = "a-token-that-nobody-guesses", "another-that-nobody-guesses"


class Answering(threading.Thread):
    """Answers every command as a learner would."""

    def __init__(self, parts: RunningServer) -> None:
        super().__init__(daemon=True)
        self._parts, self.ended = parts, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.005):
            for command in self._parts.store.poll("m"):
                self._parts.store.respond(command.id, {"version": 9})


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[RunningServer]:
    (tmp_path / "tokens").write_text(f"{TOKEN} roles=operate,read name=ada\n{OTHER} roles=read name=bob\n")
    with served(
        tmp_path,
        tokens=Tokens(tmp_path / "tokens"),
        commands=lambda store: AuditedCommands(store, audit_log(tmp_path), actor),
    ) as running:
        answering = Answering(running)
        answering.start()
        yield running
        answering.ended.set()
        answering.join()


def test_actions_over_both_interfaces_are_recorded_with_the_name_of_the_token(
    parts: RunningServer, tmp_path: Path
) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as channel:
        learning = thalweg_pb2_grpc.LearningServiceStub(channel)
        metadata = [("authorization", f"Bearer {TOKEN}")]
        learning.Snapshot(thalweg_pb2.SnapshotRequest(model="m"), metadata=metadata, timeout=PATIENCE)
        learning.Rollback(thalweg_pb2.RollbackRequest(model="m", version=1), metadata=metadata, timeout=PATIENCE)
        other = [("authorization", f"Bearer {OTHER}")]
        with pytest.raises(grpc.RpcError):
            learning.Snapshot(thalweg_pb2.SnapshotRequest(model="m"), metadata=other, timeout=PATIENCE)
    url = f"http://127.0.0.1:{parts.server.http_port}/api/models/m"
    headers = {"authorization": f"Bearer {TOKEN}"}
    httpx.post(f"{url}/rollback", json={"version": 1}, headers=headers).raise_for_status()
    httpx.post(f"{url}/snapshot", json={}, headers=headers).raise_for_status()

    text = (tmp_path / "audit.jsonl").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    assert [entry["action"] for entry in entries] == ["snapshot", "rollback", "rollback", "snapshot"]
    assert {(entry["by"], entry["by_kind"], entry["outcome"]) for entry in entries} == {("ada", "token", "done")}
    assert "that nobody guesses" not in text


def test_without_tokens_it_is_the_address_that_is_recorded(tmp_path: Path) -> None:
    with (
        served(tmp_path, commands=lambda store: AuditedCommands(store, audit_log(tmp_path), actor)) as parts,
        grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as channel,
    ):
        answering = Answering(parts)
        answering.start()
        learning = thalweg_pb2_grpc.LearningServiceStub(channel)
        learning.Snapshot(thalweg_pb2.SnapshotRequest(model="m"), timeout=PATIENCE)
        answering.ended.set()
        answering.join()

    (entry,) = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (entry["by"], entry["by_kind"]) == ("anonymous 127.0.0.1", "anonymous")
