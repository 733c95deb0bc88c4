"""Tokens: who has one may change a model, who has none may look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.ops.serve.serving import served
from tests.services.processes import PATIENCE
from thalweg.ops.serve.tokens import Tokens, TokensUnusable
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto import thalweg_pb2_grpc

ONE, TWO = "a-token-of-some-length", "another-token-süd-länger"


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_a_known_token_is_allowed_and_nothing_else_is(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "t", "# the night shift", ONE, "", f"  {TWO}  "))

    for good in (f"Bearer {ONE}", f"bearer {TWO}", f"BEARER  {ONE} "):
        assert tokens.allows(good), good
    for bad in (None, "", ONE, f"Basic {ONE}", "Bearer", "Bearer ", f"Bearer {ONE}x", f"Bearer {ONE[:-1]}", "Bearer #"):
        assert not tokens.allows(bad), bad


def test_a_file_that_is_of_no_use_is_refused_without_showing_a_token(tmp_path: Path) -> None:
    for lines, text in ((["# none", ""], "got none"), ([ONE, "short"], "line 2: expected a token of at least 16")):
        with pytest.raises(TokensUnusable, match=text) as refused:
            Tokens(written(tmp_path / "t", *lines))
        assert "short" not in str(refused.value)
    with pytest.raises(TokensUnusable, match="cannot be read: No such file"):
        Tokens(tmp_path / "missing")


def test_tokens_are_exchanged_without_a_restart_and_a_bad_exchange_changes_nothing(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "t", ONE))

    def after(*lines: str) -> tuple[bool, bool]:
        written(tmp_path / "t", *lines)
        os.utime(tmp_path / "t", ns=(1, tokens._changed + 1))
        tokens._looked = float("-inf")
        return tokens.allows(f"Bearer {ONE}"), tokens.allows(f"Bearer {TWO}")

    assert after(TWO) == (False, True)
    assert after("no") == (False, True)
    (tmp_path / "t").unlink()
    tokens._looked = float("-inf")
    assert tokens.allows(f"Bearer {TWO}")


CHANGING: dict[str, Any] = {
    "Snapshot": pb.SnapshotRequest(model="m"),
    "Rollback": pb.RollbackRequest(model="m", version=1),
    "Label": pb.LabelRequest(model="m", id="e"),
    "Learn": iter([pb.Event(model="m")]),
}
LOOKING: dict[str, Any] = {
    "GetModel": pb.GetModelRequest(name="m"),
    "ListSnapshots": pb.ListSnapshotsRequest(model="m"),
}


@pytest.mark.parametrize("method", [*CHANGING, *LOOKING])
@pytest.mark.parametrize("given", ["none", "wrong", "right"])
def test_every_call_that_changes_a_model_needs_a_token_and_no_other_does(
    tmp_path: Path, method: str, given: str
) -> None:
    tokens = Tokens(written(tmp_path / "t", ONE))
    metadata = {
        "none": [],
        "wrong": [("authorization", f"Bearer {TWO.encode().hex()}")],
        "right": [("authorization", f"Bearer {ONE}")],
    }
    request = {**CHANGING, **LOOKING}[method]
    if method == "Learn":
        request = iter([pb.Event(model="m")])

    refused = method in CHANGING and given != "right"
    with served(tmp_path, tokens=tokens) as parts, grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as wire:
        call = getattr(thalweg_pb2_grpc.LearningServiceStub(wire), method)
        code = grpc.StatusCode.OK
        try:
            answer = call(request, metadata=metadata[given], timeout=PATIENCE if refused else 2)
            if method == "Learn":
                list(answer)
        except grpc.RpcError as error:
            code = error.code()  # type: ignore[attr-defined]  # the stubs do not know that errors of calls have it

    assert (code == grpc.StatusCode.UNAUTHENTICATED) == refused
