"""The long forms in short: a service under load and faults ends exact; fuzzed records and requests break nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.ops.serve.serving import FEATURES, RunningServer, served
from tests.soak.fuzz import fuzz_records, fuzz_requests
from tests.soak.run import soak
from thalweg.proto import inference_pb2 as pb


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


def test_of_a_fuzzed_request_that_took_long_the_parameters_are_told(
    service: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that never comes is waited for, 10 s at most with a deadline: here shorter, and long enough to tell."""
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(bytes(4 * FEATURES))
    request.parameters["min_state_version"].int64_param = 115
    monkeypatch.setattr("tests.soak.mutations.Requests.message", lambda self: request.SerializeToString())
    monkeypatch.setattr("thalweg.ops.serve.versions._LONGEST_WAIT_SECONDS", 0.2)
    monkeypatch.setattr("tests.soak.fuzz._SLOW_SECONDS", 0.1)
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        seen = fuzz_requests(f"http://127.0.0.1:{service.server.http_port}", channel, os.getpid(), 1, seed=0)

    (told,) = seen.slow
    assert "request 0 of seed 0" in told
    assert "DEADLINE_EXCEEDED, parameters {'min_state_version': 'int64_param: 115'}" in told


@pytest.mark.slow(30)
def test_a_service_that_is_killed_and_stopped_under_load_ends_with_each_event_learned_once(tmp_path: Path) -> None:
    verdict = soak(tmp_path, 15.0, seed=3, services=False, cold=False)

    assert verdict.problems == []
    assert sum(verdict.faults.values()) > 0
    assert verdict.answers["OK"] > 0
