"""The long forms in short: a service under load and faults ends exact; fuzzed records and requests break nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.ops.serve.serving import RunningServer, served
from tests.soak.fuzz import fuzz_records, fuzz_requests
from tests.soak.run import soak


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningServer]:
    with served(tmp_path) as parts:
        yield parts


def test_fuzzed_records_are_learned_or_kept_as_dead_letters_byte_for_byte() -> None:
    seen = fuzz_records(3000, seed=0)

    assert seen.errors == []
    assert {"taken", "malformed", "wrong_dtype", "bad_time", "bad_label", "non_finite"} <= seen.outcomes.keys()


def test_fuzzed_requests_are_answered_or_refused_as_the_callers_mistake(service: RunningServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        seen = fuzz_requests(f"http://127.0.0.1:{service.server.http_port}", channel, os.getpid(), 1000, seed=0)

    assert seen.errors == []
    assert {"200", "OK", "400", "INVALID_ARGUMENT", "NOT_FOUND"} <= seen.outcomes.keys()


@pytest.mark.slow(30)
def test_a_service_that_is_killed_and_stopped_under_load_ends_with_each_event_learned_once(tmp_path: Path) -> None:
    verdict = soak(tmp_path, 15.0, seed=3, services=False, cold=False)

    assert verdict.problems == []
    assert sum(verdict.faults.values()) > 0
    assert verdict.answers["OK"] > 0
