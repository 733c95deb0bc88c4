"""A refused call is logged with why it was refused, on both interfaces; never with a token."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from thalweg.ops.serve.access import refusals
from thalweg.ops.serve.access.access import Access, AccessSettings
from thalweg.ops.serve.access.callers import CALLER
from thalweg.ops.serve.access.roles import row_of
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.bounds.rare_log import RareLog
from thalweg.ops.serve.errors import Forbidden, RateExceeded, Unauthenticated

READER, OLD = "the-token-of-a-reader", "the-token-of-last-year"
PREDICT = "POST /v1/models/{name}/predict"
PEER = "192.0.2.7"


@pytest.fixture(autouse=True)
def _every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(refusals, "log", RareLog(structlog.get_logger(), lambda: 2.0 * next(ticks)))


@pytest.fixture
def access(tmp_path: Path) -> Access:
    file = tmp_path / "tokens"
    file.write_text(f"{READER} roles=read name=dashboards\n{OLD} roles=predict name=intern expires=2001-01-01\n")
    return Access(Tokens(file), AccessSettings(hosts=["models.example.com"]))


def lines_of(access: Access, call: str, headers: dict[str, str], **more: Any) -> list[Any]:
    with structlog.testing.capture_logs() as lines, pytest.raises((Unauthenticated, Forbidden, RateExceeded)):
        access.enter_http(row_of(call), headers, reads=call.startswith("GET"), model="m", peer=PEER, **more)
    assert all(line["event"].startswith("refused a call: ") for line in lines)
    assert not any(token in str(lines) for token in (READER, OLD, "a-strange-token"))
    return lines


@pytest.mark.parametrize(
    ("headers", "event", "field"),
    [
        ({}, "no token came", ("problem", "none came")),
        ({"authorization": "Bearer a-strange-token"}, "the token is not known", ("role", "predict")),
        ({"authorization": f"Bearer {OLD}"}, "the token is not accepted", ("problem", "that of 'intern' has expired")),
        ({"authorization": "Basic eA=="}, "the token is not accepted", ("problem", "the scheme of the one that came")),
        ({"authorization": f"Bearer {READER}"}, "the caller lacks the role", ("caller", "dashboards")),
        ({"host": "evil.example.com"}, "the host is none of this service's", ("host", "evil.example.com")),
        ({"origin": "https://evil.example.com"}, "a web page of another origin", ("origin", "evil.example.com")),
    ],
)
def test_over_http_each_reason_is_the_one_that_is_logged(
    access: Access, headers: dict[str, str], event: str, field: tuple[str, str]
) -> None:
    (line,) = lines_of(access, PREDICT, headers)

    assert line["event"] == f"refused a call: {event}"
    assert line["log_level"] == "warning"
    assert field[1] in line[field[0]]
    assert (line["call"], line["peer"]) == (PREDICT, PEER)


def test_over_grpc_too_before_the_message_is_read_and_for_the_model_in_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{READER} roles=predict models=other name=scoring\n")
    access = Access(Tokens(file))
    row = row_of("inference.GRPCInferenceService/ModelInfer")

    def entered(*metadata: tuple[str, str]) -> list[Any]:
        context: Any = SimpleNamespace(
            invocation_metadata=lambda: metadata, peer=lambda: f"ipv4:{PEER}:5000", auth_context=dict
        )
        with structlog.testing.capture_logs() as lines, suppress(Unauthenticated, Forbidden):
            access.enter_grpc(row, context)
            caller = CALLER.get()
            assert caller is not None
            caller.require("predict", "m", "a prediction")
        return lines

    assert [line["event"] for line in entered()] == ["refused a call: no token came"]
    (line,) = entered(("authorization", f"Bearer {READER}"))
    assert line["event"] == "refused a call: the caller lacks the role"
    assert (line["caller"], line["model"], line["peer"]) == ("scoring", "m", f"ipv4:{PEER}:5000")


@pytest.mark.parametrize(
    ("peer", "metadata", "here"),
    [
        ("ipv4:127.0.0.1:5000", (), True),
        ("ipv6:%5B::1%5D:5000", (), True),
        ("unix:", (), True),
        ("ipv4:192.0.2.7:5000", (), False),
        ("ipv4:127.0.0.6:5000", (), False),  # the sidecar of a mesh, for somebody elsewhere
        ("ipv4:127.0.0.1:5000", (("x-forwarded-for", "192.0.2.7"),), False),
        ("ipv4:127.0.0.1:5000", (("x-request-id", "1"),), False),
    ],
)
def test_without_tokens_a_proxy_on_this_machine_is_nobody_of_this_machine(
    peer: str, metadata: tuple[tuple[str, str], ...], here: bool
) -> None:
    context: Any = SimpleNamespace(invocation_metadata=lambda: metadata, peer=lambda: peer, auth_context=dict)

    def entered() -> None:
        Access().enter_grpc(row_of("thalweg.v1.LearningService/Rollback"), context)

    if here:
        entered()
    else:
        with pytest.raises(Forbidden, match="without a token_file that is only for programs on the same machine"):
            entered()


def test_who_calls_too_often_or_is_a_page_without_a_token_file_is_told_as_that(tmp_path: Path) -> None:
    hasty = Access(None, AccessSettings(requests_per_second=1.0), clock=lambda: 0.0)
    hasty.enter_http(row_of("GET /metrics"), {}, reads=True, model=None, peer=PEER)
    (line,) = lines_of(hasty, "GET /metrics", {})
    assert line["event"] == "refused a call: it calls too often"

    page = {"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:8080"}
    (line,) = lines_of(Access(), "POST /api/models/{name}/rollback", page)
    assert line["event"] == "refused a call: not for web pages or other machines without a token_file"
    assert "read-only" in line["problem"]
