"""The server as a whole: under load, under swaps, beside streams, and when something is wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.ops.serve.serving import FEATURES, SPECS, RunningServer, served
from tests.services.processes import PATIENCE
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.state import State
from thalweg.models.contract import capabilities
from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve import versions
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.versions import MOST_LOADING, MOST_WAITING, WaitSlots
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import REGRESSION
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Appended, Log, Message
from thalweg.stream.publication.file_channel import FilePublisher


def stub(parts: Any, stack: ExitStack) -> Any:
    server = parts if isinstance(parts, Server) else parts.server
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
    return inference_pb2_grpc.GRPCInferenceServiceStub(channel)


def learning(parts: RunningServer, stack: ExitStack) -> Any:
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}"))
    return thalweg_pb2_grpc.LearningServiceStub(channel)


def ask(rows: int = 1, **more: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", **more)
    request.inputs.add(name="features", datatype="FP32", shape=[rows, FEATURES])
    request.raw_input_contents.append(np.zeros((rows, FEATURES), "<f4").tobytes())
    return request


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Numbered:
    """Every number it answers is that of its version, out of an array that a half-taken version would show in."""

    inputs = SPECS
    task = REGRESSION
    outputs = {"value": TensorSpec("value", "float32", (2,))}  # noqa: RUF012 - never changed
    classes: tuple[str, ...] = ()
    properties: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, state: State) -> None:
        self.values = state.tensors["values"]

    def predict(self, inputs: Inputs) -> dict[str, Array]:
        low, high = self.values.min(), self.values.max()
        return {"value": np.full((len(inputs["features"]), 2), [low, high], np.float32)}

    def state(self) -> State:
        return State({"values": self.values})


def numbered(number: int) -> Predictor:
    return Numbered(State({"values": np.full(5000, float(number))}))


PUBLISHER = """
import sys
from pathlib import Path
from tests.ops.serve.test_server import numbered
from thalweg.stream.publication.file_channel import FilePublisher
publisher = FilePublisher(Path(sys.argv[1]))
first = int(sys.argv[2])
for number in range(first, first + 1_000_000):
    publisher.publish(numbered(number), version=number, learned_events=number, event_time=0.0)
    publisher.confirm(float(number))
"""


@contextmanager
def serving(
    folder: Path, build: Callable[[State], Predictor] = Numbered, log: Log | None = None, **bounds: int
) -> Iterator[Server]:
    """A server of one model whose versions come from wherever the test has them published."""
    location = ModelLocation(
        name="m",
        learner="numbered",
        topic="t",
        labels_topic="l",
        live=folder / "m",
        state=folder / "state",
        schema=Schema(SPECS, "class"),
        build=build,
        restore=build,
    )
    limits = ServerLimits(**bounds)
    workers = workers_of(limits)
    models = Models([location], slots=WaitSlots(limits.most_waiting, workers.waiting))
    addresses = Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0")
    server = Server(
        models, log or InMemoryLog(), InMemoryCommandQueue(), workers=workers, addresses=addresses, limits=limits
    )
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.mark.slow(4)
def test_hundreds_of_swaps_and_a_killed_publisher_fail_no_request_and_tear_no_answer(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ExitStack() as stack:
        asking = stub(server, stack)
        done = threading.Event()
        seen: list[tuple[float, float, int]] = []
        versions: set[int] = set()

        def predict() -> None:
            while not done.is_set():
                response = asking.ModelInfer(ask())
                low, high = np.frombuffer(response.raw_output_contents[0], "<f4")
                seen.append((low, high, response.parameters["state_version"].int64_param))
                versions.add(seen[-1][2])

        with ThreadPoolExecutor(4) as pool:
            asked = []
            for life in range(2):
                before = len(versions)
                command = [sys.executable, "-c", PUBLISHER, str(tmp_path / "m"), str(1 + life * 1_000_000)]
                publisher = subprocess.Popen(command)
                assert server.wait_ready(30)
                asked = asked or [pool.submit(predict) for _ in range(4)]
                until(lambda: len(versions) > before + 150)  # noqa: B023 - called at once
                publisher.kill()
                publisher.wait()
                count = len(seen)
                until(lambda: len(seen) > count + 50)  # noqa: B023 - it answers on from what was published last
            done.set()
            for one in asked:
                one.result()  # raises what a request failed of

    assert all(low == high == version for low, high, version in seen)


def test_open_streams_take_no_thread_from_predictions_and_too_many_are_refused(tmp_path: Path) -> None:
    with served(tmp_path, limits=ServerLimits(workers=2)) as parts, ExitStack() as stack:
        asking, teaching = stub(parts, stack), learning(parts, stack)
        request = thalweg_pb2.WatchRequest(model="m", interval_seconds=60)
        open_ = [teaching.Watch(request, timeout=60) for _ in range(64)]
        for call in open_:
            next(call)

        assert asking.ModelInfer(ask(), timeout=PATIENCE)
        code, details = refused(lambda: next(teaching.Watch(request, timeout=PATIENCE)))
        assert (code, details) == ("RESOURCE_EXHAUSTED", "64 streams of Watch are open, the maximum; retry later")

        for call in open_:
            call.cancel()
        until(lambda: _allowed(teaching, request))


def _allowed(teaching: Any, request: Any) -> bool:
    call = teaching.Watch(request, timeout=PATIENCE)
    try:
        next(call)
    except grpc.RpcError:
        return False
    call.cancel()
    return True


def answered_beside_them(parts: Any, stack: ExitStack) -> None:
    """What is asked while others wait is answered by gRPC and REST."""
    server = parts if isinstance(parts, Server) else parts.server
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
    inference, health = inference_pb2_grpc.GRPCInferenceServiceStub(channel), health_pb2_grpc.HealthStub(channel)
    for _ in range(10):  # a caller in the server's own process may find no file left to open while a crowd is let in
        assert inference.ModelInfer(ask(), timeout=PATIENCE, wait_for_ready=True)
    assert health.Check(health_pb2.HealthCheckRequest(service="m"), timeout=PATIENCE)
    assert inference.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE).live
    assert inference.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE)
    assert inference.ModelReady(pb.ModelReadyRequest(name="m"), timeout=PATIENCE).ready
    assert inference.ModelMetadata(pb.ModelMetadataRequest(name="m"), timeout=PATIENCE).name == "m"
    assert (
        thalweg_pb2_grpc.LearningServiceStub(channel)
        .GetModel(thalweg_pb2.GetModelRequest(name="m"), timeout=PATIENCE)
        .ready
    )
    assert httpx.post(f"http://127.0.0.1:{server.http_port}/v2/models/m/infer", json=REST, timeout=PATIENCE).is_success


REST = {"inputs": [{"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0] * FEATURES}]}


@pytest.mark.parametrize("workers", [1, 2])
def test_those_who_wait_for_a_version_take_no_thread_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(versions, "_LONGEST_WAIT_SECONDS", 60.0)  # so that no machine is too slow
    with served(tmp_path, limits=ServerLimits(workers=workers)) as parts, ExitStack() as stack:
        asking = stub(parts, stack)
        future = ask(parameters={"min_state_version": pb.InferParameter(int64_param=parts.version + 1)})
        waiting = [asking.ModelInfer.future(future, timeout=60) for _ in range(MOST_WAITING + 4)]
        until(lambda: sum(call.done() for call in waiting) == 4)

        answered_beside_them(parts, stack)
        url = f"http://127.0.0.1:{parts.server.http_port}/v2/models/m/infer"
        by_rest = httpx.post(
            url, json=REST | {"parameters": {"min_state_version": parts.version + 1}}, timeout=PATIENCE
        )
        assert by_rest.status_code == 429  # the slots are the same
        assert sum(call.done() for call in waiting) == 4
        parts.learn(10)

        codes = [call.code().name for call in waiting]  # waits for each
        assert sorted(codes) == ["OK"] * MOST_WAITING + ["RESOURCE_EXHAUSTED"] * 4
        assert asking.ModelInfer(future, timeout=PATIENCE)  # all slots are free again


@pytest.mark.parametrize("workers", [1, 2])
def test_those_who_wait_for_a_kept_version_take_no_thread_from_the_others(tmp_path: Path, workers: int) -> None:
    with served(tmp_path, limits=ServerLimits(workers=workers)) as parts, ExitStack() as stack:
        release = threading.Event()
        stack.callback(release.set)
        loads: list[bool] = []
        parts.loading = lambda: loads.append(release.wait(PATIENCE))
        kept = parts.version
        parts.learn(10)
        asking = stub(parts, stack)
        request = ask(parameters={"as_of_version": pb.InferParameter(int64_param=kept)})
        waiting = [asking.ModelInfer.future(request, timeout=60) for _ in range(MOST_LOADING + 3)]
        until(lambda: sum(call.done() for call in waiting) == 3)

        answered_beside_them(parts, stack)
        assert sum(call.done() for call in waiting) == 3
        release.set()

        codes = [call.code().name for call in waiting]
        assert sorted(codes) == ["OK"] * MOST_LOADING + ["RESOURCE_EXHAUSTED"] * 3
        assert loads == [True]  # for all of them


def test_a_version_that_is_loaded_answers_while_another_is_loaded(tmp_path: Path) -> None:
    with served(tmp_path) as parts, ExitStack() as stack:
        first = parts.version
        parts.learn(10, save=True)
        parts.learn(10)
        asking = stub(parts, stack)
        loaded = ask(parameters={"as_of_version": pb.InferParameter(int64_param=first)})
        assert asking.ModelInfer(loaded, timeout=PATIENCE)
        release, busy = threading.Event(), threading.Event()
        stack.callback(release.set)
        parts.loading = lambda: busy.set() or release.wait(PATIENCE)  # type: ignore[func-returns-value]

        other = ask(parameters={"as_of_version": pb.InferParameter(int64_param=first + 1)})
        waiting = asking.ModelInfer.future(other, timeout=60)
        assert busy.wait(PATIENCE)

        assert asking.ModelInfer(loaded, timeout=PATIENCE)
        assert not waiting.done()


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_that_wait_for_the_log_take_no_thread_from_the_others(tmp_path: Path, workers: int) -> None:
    release, busy = threading.Event(), threading.Semaphore(0)

    class Slow(InMemoryLog):
        def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
            busy.release()
            assert release.wait(PATIENCE)
            return super().append(topic, messages)

    FilePublisher(tmp_path / "m").publish(numbered(1), version=1, learned_events=1, event_time=0.0)
    with serving(tmp_path, log=Slow(), workers=workers) as server, ExitStack() as stack:
        stack.callback(release.set)
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
        label = thalweg_pb2.LabelRequest(model="m", id="e", text="a")
        labelling = thalweg_pb2_grpc.LearningServiceStub(channel).Label
        calls = [labelling.future(label, timeout=60) for _ in range(20)]
        for _ in range(workers + 1):
            assert busy.acquire(timeout=PATIENCE)

        answered_beside_them(server, stack)
        assert not any(call.done() for call in calls)
        release.set()

        assert sorted(call.result().offset for call in calls) == list(range(20))


def test_more_requests_than_may_wait_are_refused_at_once(tmp_path: Path) -> None:
    asked, release, busy = threading.Event(), threading.Event(), threading.Semaphore(0)

    class Slow(Numbered):
        def predict(self, inputs: Inputs) -> dict[str, Array]:
            if asked.is_set():  # before, the version is tried
                busy.release()
                release.wait(PATIENCE)
            return super().predict(inputs)

    FilePublisher(tmp_path / "m").publish(numbered(1), version=1, learned_events=1, event_time=0.0)
    with serving(tmp_path, Slow, workers=2, queue=3) as server, ExitStack() as stack:
        asking = stub(server, stack)
        asked.set()
        calls = [asking.ModelInfer.future(ask(), timeout=60) for _ in range(12)]
        for _ in range(2):
            assert busy.acquire(timeout=PATIENCE)
        until(lambda: sum(call.done() for call in calls) == 7)
        release.set()

        codes = [call.code().name for call in calls]

    assert codes.count("OK") == 5
    assert codes.count("RESOURCE_EXHAUSTED") == 7


def test_what_a_version_can_do_is_looked_up_once_not_for_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    plain = capabilities._missing

    def counting(type_: type, kind: type) -> frozenset[str]:
        if type_ is Able:
            looked.append(kind.__name__)
        return plain(type_, kind)

    class Able(Numbered):
        alternative_inputs = {"other": TensorSpec("other", "float32", ())}  # noqa: RUF012 - never changed

        def check(self, inputs: Inputs) -> None: ...

        def explain(self, inputs: Inputs, most: int) -> list[Any]:
            return [most]

    monkeypatch.setattr(capabilities, "_missing", counting)
    FilePublisher(tmp_path / "m").publish(numbered(1), version=1, learned_events=1, event_time=0.0)
    with serving(tmp_path, Able) as server, ExitStack() as stack:
        assert server.wait_ready(30)
        assert sorted(looked) == ["AlternativeInputs", "Explainer", "InputValidator", "Untaught"]
        tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0] * FEATURES}
        url = f"http://127.0.0.1:{server.http_port}/v2/models/m/infer"

        asking = stub(server, stack)

        for _ in range(3):
            asking.ModelInfer(ask(parameters={"explain": pb.InferParameter(int64_param=2)}))
            answer = httpx.post(url, json={"inputs": [tensor], "parameters": {"explain": 2}})

        assert answer.json()["parameters"]["explanation"] == [2]
        assert len(looked) == 4


def test_a_bug_is_an_internal_error_that_tells_callers_nothing_of_us(tmp_path: Path) -> None:
    class Broken(Numbered):
        def predict(self, inputs: Inputs) -> dict[str, Array]:
            raise ZeroDivisionError("secret")

    FilePublisher(tmp_path / "m").publish(numbered(1), version=1, learned_events=1, event_time=0.0)
    with serving(tmp_path, Broken) as server, ExitStack() as stack:
        code, details = refused(lambda: stub(server, stack).ModelInfer(ask()))
        tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0] * FEATURES}
        answer = httpx.post(f"http://127.0.0.1:{server.http_port}/v2/models/m/infer", json={"inputs": [tensor]})

    assert (code, details) == ("INTERNAL", "internal error; see the server's log")
    assert (answer.status_code, answer.json()) == (500, {"error": details})


def test_a_message_that_repeats_what_a_caller_sent_stays_short_enough_to_arrive(tmp_path: Path) -> None:
    with served(tmp_path) as parts, ExitStack() as stack:
        request = ask()
        request.model_name = "x" * 100_000

        code, details = refused(lambda: stub(parts, stack).ModelInfer(request))

    assert code == "NOT_FOUND"
    assert len(details) < 1100


def test_who_watches_health_hears_of_changes_alone(tmp_path: Path) -> None:
    with served(tmp_path) as parts, ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}"))
        heard = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="m"), timeout=PATIENCE)
        until(lambda: next(heard).status == health_pb2.HealthCheckResponse.SERVING)

        parts.server.models.draining = True

        assert next(heard).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_caller_who_goes_away_while_teaching_leaves_no_thread_behind(tmp_path: Path) -> None:
    with served(tmp_path) as parts, ExitStack() as stack:
        teaching = learning(parts, stack)

        def endless() -> Iterator[thalweg_pb2.Event]:
            while True:
                yield thalweg_pb2.Event(model="m", id="x")

        calls = [teaching.Learn(endless(), timeout=PATIENCE) for _ in range(4)]
        for call in calls:
            next(call)
        for call in calls:
            call.cancel()

        until(lambda: not any(thread.name == "learn-stream" for thread in threading.enumerate()))


def test_connections_that_say_nothing_keep_nobody_from_being_answered(tmp_path: Path) -> None:
    with served(tmp_path) as parts, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", parts.server.grpc_port)))
            stack.enter_context(socket.create_connection(("127.0.0.1", parts.server.http_port)))

        assert stub(parts, stack).ModelInfer(ask(), timeout=PATIENCE)
        assert httpx.get(f"http://127.0.0.1:{parts.server.http_port}/healthz").status_code == 200


def test_how_long_requests_waited_for_a_thread_is_counted(tmp_path: Path) -> None:
    with served(tmp_path) as parts, ExitStack() as stack:
        assert stub(parts, stack).ModelInfer(ask())

        page = httpx.get(f"http://127.0.0.1:{parts.server.http_port}/metrics").text

    line = next(
        line for line in page.splitlines() if line.startswith('thalweg_inference_queue_seconds_sum{model_name="m"')
    )
    assert 0 < float(line.split()[-1]) < 1
