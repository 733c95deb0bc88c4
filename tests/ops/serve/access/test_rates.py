"""Rates: a second's worth at once, then the rate, for each identity by itself."""

from __future__ import annotations

from pathlib import Path

import grpc
import httpx
import pytest

from tests.ops.serve.serving import served
from tests.services.processes import PATIENCE
from thalweg.ops.serve.access.access import AccessSettings
from thalweg.ops.serve.access.rates import MOST_IDENTITIES, Rates
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto import thalweg_pb2_grpc


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_identity_gets_its_burst_then_its_rate_and_takes_nothing_from_others() -> None:
    clock = Clock()
    rates = Rates(4.0, clock)

    assert [rates.wait_seconds("a") for _ in range(4)] == [0.0] * 4
    assert rates.wait_seconds("a") == pytest.approx(0.25)
    assert rates.wait_seconds("b") == 0.0
    clock.now = 0.5
    assert [rates.wait_seconds("a") > 0 for _ in range(3)] == [False, False, True]
    clock.now = 1000.0
    assert [rates.wait_seconds("a") > 0 for _ in range(5)] == [False] * 4 + [True]  # no more than a burst is saved up


def test_a_rate_of_its_own_goes_before_the_usual_one() -> None:
    rates = Rates(0.0, Clock())

    assert [rates.wait_seconds("a") for _ in range(100)] == [0.0] * 100
    assert [rates.wait_seconds("b", 0.5) > 0 for _ in range(2)] == [False, True]


def test_what_is_kept_of_strangers_is_bounded() -> None:
    rates = Rates(1.0, Clock())

    for number in range(MOST_IDENTITIES + 10):
        rates.wait_seconds(f"anonymous {number}")

    assert len(rates._buckets) == MOST_IDENTITIES


def test_guesses_of_tokens_are_counted_like_other_calls(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a-token-of-some-length roles=read\n")
    with served(
        tmp_path, tokens=Tokens(tmp_path / "tokens"), access=AccessSettings(requests_per_second=0.001)
    ) as parts:
        url = f"http://127.0.0.1:{parts.server.http_port}/v1/models"
        codes = [httpx.get(url, headers={"authorization": f"Bearer guess-{n}"}).status_code for n in range(3)]
        known = httpx.get(url, headers={"authorization": "Bearer a-token-of-some-length"}).status_code

    assert (codes, known) == ([401, 429, 429], 200)


def test_who_calls_too_often_is_refused_over_both_interfaces_and_health_never(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a-token-that-is-slow roles=read rate=0.001\nanother-token-of-some roles=read\n")
    slow = {"authorization": "Bearer a-token-that-is-slow"}
    with (
        served(
            tmp_path, tokens=Tokens(tmp_path / "tokens"), access=AccessSettings(requests_per_second=1000.0)
        ) as parts,
        httpx.Client(base_url=f"http://127.0.0.1:{parts.server.http_port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as wire,
    ):
        first, second = (client.get("/v1/models", headers=slow) for _ in range(2))
        with pytest.raises(grpc.RpcError) as refused:
            thalweg_pb2_grpc.LearningServiceStub(wire).GetModel(
                pb.GetModelRequest(name="m"), metadata=list(slow.items()), timeout=PATIENCE
            )
        others = client.get("/v1/models", headers={"authorization": "Bearer another-token-of-some"})
        page = client.get("/metrics", headers={"authorization": "Bearer another-token-of-some"}).text
        health = client.get("/healthz", headers=slow)

    assert (first.status_code, second.status_code, others.status_code, health.status_code) == (200, 429, 200, 200)
    assert int(second.headers["retry-after"]) >= 1
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    assert 'thalweg_requests_refused_total{reason="rate"} 2.0' in page
