"""Refused calls are in an audit log of their own, counted together: a flood of them takes a few lines a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.ops.serve.serving import served
from tests.services.processes import PATIENCE, until
from thalweg.memory.audit import Actor, refused_log
from thalweg.ops.serve.access.refusals import EVERY_SECONDS, MOST_LINES, RefusedCalls
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.proto import thalweg_pb2, thalweg_pb2_grpc

TOKEN = "a-token-that-nobody-guesses"


def entries(folder: Path) -> list[dict[str, Any]]:
    path = folder / "audit-refused.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_who_was_refused_what_and_why_over_both_interfaces_is_recorded_and_no_token(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN} roles=read name=bob\n")
    calls = RefusedCalls(refused_log(tmp_path))
    with served(tmp_path, tokens=Tokens(tmp_path / "tokens"), refused=calls) as parts:
        url = f"http://127.0.0.1:{parts.server.http_port}/v1/models/m/events"
        for headers in ({}, {"authorization": "Bearer strange"}, {"authorization": f"Bearer {TOKEN}"}):
            for _ in range(3):
                assert httpx.post(url, json={}, headers=headers).status_code in (401, 403)
        with grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as channel, pytest.raises(grpc.RpcError):
            thalweg_pb2_grpc.LearningServiceStub(channel).Snapshot(
                thalweg_pb2.SnapshotRequest(model="m"),
                metadata=[("authorization", f"Bearer {TOKEN}")],
                timeout=PATIENCE,
            )
        until("the first to be recorded, without a minute's wait", lambda: entries(tmp_path))

    found = entries(tmp_path)
    assert {(one["action"], one["outcome"]) for one in found} == {("call", "refused")}
    events, snapshot = "POST /v1/models/{name}/events", "thalweg.v1.LearningService/Snapshot"
    summed: dict[tuple[str, ...], int] = {}
    for one in found:
        kind = one["by"], one["by_kind"], one["arguments"]["call"], one["detail"]
        summed[kind] = summed.get(kind, 0) + one["arguments"]["calls"]
    assert summed == {
        ("anonymous 127.0.0.1", "anonymous", events, "no token came"): 3,
        ("anonymous 127.0.0.1", "anonymous", events, "the token is not known"): 3,
        ("bob", "token", events, "the caller lacks the role"): 3,
        ("bob", "token", snapshot, "the caller lacks the role"): 1,
    }
    assert not (tmp_path / "audit.jsonl").exists()
    assert "nobody-guesses" not in str(found)
    assert "strange" not in str(found)


def test_a_flood_takes_a_few_lines_a_minute_and_every_call_of_it_is_counted(tmp_path: Path) -> None:
    now = [0.0]
    calls = RefusedCalls(refused_log(tmp_path), lambda: now[0])
    for number in range(5000):
        calls.note(Actor(f"anonymous 2001:db8::{number:x}", "anonymous"), "no token came", "POST /v1/x")
        calls.note(Actor("bob", "token"), "the caller lacks the role", "POST /v1/x", "m")
        now[0] += 0.001
        calls.look()
    lines = len(entries(tmp_path))
    now[0] += EVERY_SECONDS
    calls.look()
    calls.look()

    found = entries(tmp_path)
    assert lines <= 2
    assert len(found) == lines + MOST_LINES + 1
    assert sum(one["arguments"]["calls"] for one in found) == 10_000
    assert next(one["arguments"]["calls"] for one in found[lines:] if one["by"] == "bob") == 4999
    assert found[-1]["by"] == "others"


def test_what_was_refused_last_is_recorded_when_the_server_ends(tmp_path: Path) -> None:
    calls = RefusedCalls(refused_log(tmp_path))
    calls.note(Actor("bob", "token"), "it calls too often", "POST /v1/x")
    calls.record()
    calls.note(Actor("bob", "token"), "it calls too often", "POST /v1/x")
    calls.look()
    assert len(entries(tmp_path)) == 1

    with served(tmp_path, refused=calls):
        pass

    assert len(entries(tmp_path)) == 2
