"""Where the system lets a process start no further thread, gRPC goes on with those that it has."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.ops.serve.serving import FEATURES, served
from tests.services.processes import PATIENCE, until
from thalweg.ops.serve.grpc_api.call_threads import CallThreads
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set no thread of calls can be started, as with a limit of tasks."""
    limited, start = threading.Event(), threading.Thread.start

    def limited_start(self: threading.Thread) -> None:
        if limited.is_set() and self.name.startswith("grpc_"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited_start)
    return limited


def test_calls_wait_for_a_thread_that_is_free_and_this_is_told(
    no_threads: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    with CallThreads(8, "grpc") as threads:
        no_threads.set()
        go = threading.Event()
        first, others = threads.submit(go.wait), [threads.submit(pow, 2, i) for i in range(4)]
        go.set()

        assert first.result(PATIENCE)
        assert [one.result(PATIENCE) for one in others] == [1, 2, 4, 8]
    assert capsys.readouterr().out.count("no further thread can be started") == 1


def test_a_process_that_can_start_none_says_so(no_threads: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.ops.serve.grpc_api.call_threads._FIRST_SECONDS", 0.01)
    no_threads.set()

    with pytest.raises(RuntimeError, match="limit of tasks"):
        CallThreads(8, "grpc")


def test_a_server_answers_on_although_threads_could_not_be_started(tmp_path: Path, no_threads: threading.Event) -> None:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(np.zeros((1, FEATURES), "<f4").tobytes())
    with served(tmp_path) as parts, grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        until("a version", lambda: stub.ModelReady(pb.ModelReadyRequest(name="m"), timeout=PATIENCE).ready, 30)
        no_threads.set()
        many = [stub.ModelInfer.future(request, timeout=PATIENCE) for _ in range(40)]

        assert [len(one.result().outputs) > 0 for one in many] == [True] * 40
        assert parts.server.alive
        no_threads.clear()
        assert stub.ModelInfer(request, timeout=PATIENCE).outputs


def test_a_server_whose_thread_of_grpc_has_ended_is_not_alive(tmp_path: Path) -> None:
    with served(tmp_path) as parts:
        assert parts.server.alive
        ended = threading.Thread(target=int)
        ended.start()
        ended.join()
        assert parts.server._grpc_threads, "gRPC names its thread otherwise"

        parts.server._grpc_threads[0] = ended

        assert not parts.server.alive
