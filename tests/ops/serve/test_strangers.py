"""What strangers take is bounded, and while they take it others are served."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.ops.serve.grpc_api.half_sent import HalfSent
from tests.ops.serve.serving import FEATURES, RunningServer, served
from tests.ops.serve.test_server import answered_beside_them
from tests.services.processes import until
from thalweg.ops.serve.bounds.rare_log import RareLines, RareLog, Rate
from thalweg.ops.serve.grpc_api import open_streams
from thalweg.ops.serve.grpc_api.half_open import MOST_HALF_OPEN
from thalweg.ops.serve.grpc_api.memory_growth import MemoryGrowth
from thalweg.ops.serve.grpc_api.open_streams import MOST_STREAMS
from thalweg.ops.serve.settings import ServerLimits
from thalweg.proto import thalweg_pb2, thalweg_pb2_grpc

LIMITS = ServerLimits(
    connections=60, connections_per_address=40, receive_seconds=60, requests_bytes=8 << 20, max_message_bytes=8 << 20
)
INFER, LEARN = "/inference.GRPCInferenceService/ModelInfer", "/thalweg.v1.LearningService/Learn"
TENSOR = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service"), limits=LIMITS) as parts:
        yield parts


def metric(service: RunningServer, name: str, label: str) -> float:
    for line in service.metrics.render()[0].decode().splitlines():
        if line.startswith(f"{name}{{") and f'"{label}"' in line:
            return float(line.rpartition(" ")[2])
    raise LookupError(name)


def refusals(service: RunningServer, reason: str) -> float:
    return metric(service, "thalweg_requests_refused_total", reason)


@contextmanager
def unfinished(service: RunningServer, method: str, count: int) -> Iterator[list[Any]]:
    """Calls that are begun and send nothing."""
    end = threading.Event()

    def nothing() -> Iterator[bytes]:
        end.wait()
        yield from ()

    channels = [
        grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(2)
    ]
    calls = [channels[number % 2].stream_stream(method)(nothing()) for number in range(count)]
    try:
        yield calls
    finally:
        for call in calls:
            call.cancel()
        end.set()
        for channel in channels:
            channel.close()


@pytest.mark.parametrize("method", [INFER, "/grpc.health.v1.Health/Check", "/thalweg.v1.LearningService/GetModel"])
def test_beside_unfinished_calls_others_are_answered_and_the_oldest_of_too_many_ends(
    service: RunningServer, method: str
) -> None:

    def ended() -> float:  # on a busy machine, the time of the oldest is over before the last has come
        return refusals(service, "half_open") + refusals(service, "receive_timeout")

    before = ended()
    with ExitStack() as stack:
        calls = stack.enter_context(unfinished(service, method, MOST_HALF_OPEN + 20))
        until("the oldest to end", lambda: ended() >= before + 20)

        answered_beside_them(service, stack)
        assert sum(call.done() for call in calls) >= 20
        assert metric(service, "thalweg_interface_load", "grpc_half_open_calls") <= MOST_HALF_OPEN
    until("none to be left", lambda: not metric(service, "thalweg_interface_load", "grpc_half_open_calls"))


def test_a_call_whose_message_does_not_arrive_in_time_ends(tmp_path: Path) -> None:
    with served(tmp_path, limits=ServerLimits(receive_seconds=0.2)) as parts:
        with unfinished(parts, INFER, 3) as calls:
            until("all to end", lambda: all(call.done() for call in calls))

        assert {call.code() for call in calls} == {grpc.StatusCode.CANCELLED}
        until("all to be counted", lambda: refusals(parts, "receive_timeout") == 3)  # callers may know of it before


def test_idle_streams_keep_no_operator_out_and_make_room_for_new_ones(
    service: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        calls = stack.enter_context(unfinished(service, LEARN, MOST_STREAMS + 1))
        until("one too many to be refused", lambda: sum(call.done() for call in calls) == 1)
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}"))
        teaching = thalweg_pb2_grpc.LearningServiceStub(channel)

        answered_beside_them(service, stack)
        command = teaching.Snapshot.future(thalweg_pb2.SnapshotRequest(model="m"), timeout=60)
        until("the command to be submitted", lambda: bool(service.store.poll("m")))
        command.cancel()
        assert next(teaching.Watch(thalweg_pb2.WatchRequest(model="m"), timeout=60)).model == "m"

        monkeypatch.setattr(open_streams, "_IDLE_SECONDS", 0.0)
        (ack,) = teaching.Learn(iter([thalweg_pb2.Event(model="other", id="1")]), timeout=60)
        assert ack.id == "1"
        until("the one that was idle for longest to end", lambda: sum(call.done() for call in calls) == 2)


def connect(service: RunningServer, sent: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", service.server.http_port), timeout=60)
    one.sendall(sent)
    return one


HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 7000000\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST /v2/mod", HEAD, HEAD + b"[" * 1000], ids=["", "head", "body", "more"])
def test_connections_that_wait_for_their_caller_make_room_for_new_ones(service: RunningServer, sent: bytes) -> None:
    before = refusals(service, "connections_per_address")
    with ExitStack() as stack:
        opened = [stack.enter_context(connect(service, sent)) for _ in range(LIMITS.connections_per_address + 20)]
        until("the first to be closed", lambda: refusals(service, "connections_per_address") >= before + 20)

        answered_beside_them(service, stack)
        assert opened[0].recv(100).startswith(b"HTTP/1.1 503 ")
        assert metric(service, "thalweg_interface_load", "http_connections") <= LIMITS.connections_per_address


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD, HEAD + b"[" * 1000], ids=["", "head", "body", "more"])
def test_a_request_that_does_not_arrive_in_time_is_refused(tmp_path: Path, sent: bytes) -> None:
    with served(tmp_path, limits=ServerLimits(receive_seconds=0.1)) as parts, connect(parts, sent) as slow:
        assert slow.recv(100).startswith(b"HTTP/1.1 408 Request Timeout")
        assert slow.recv(100) == b""
        assert refusals(parts, "receive_timeout") == 1


def test_half_sent_bodies_hold_no_more_than_the_bound_and_small_requests_pass(service: RunningServer) -> None:
    before = refusals(service, "bytes_in_flight")
    with ExitStack() as stack:
        for _ in range(5):
            half = stack.enter_context(connect(service, HEAD))
            half.sendall(b"[" * 3_000_000)
        until("those that are too many to be refused", lambda: refusals(service, "bytes_in_flight") >= before + 3)

        assert metric(service, "thalweg_interface_load", "request_bytes") <= LIMITS.requests_bytes
        answered_beside_them(service, stack)
    until("all to be given back", lambda: not metric(service, "thalweg_interface_load", "request_bytes"))


def test_json_that_expands_to_more_than_the_bound_is_refused_before_it_is_decoded(service: RunningServer) -> None:
    url = f"http://127.0.0.1:{service.server.http_port}/v2/models/m/infer"
    bomb = b'{"inputs":[' + b"[]," * 500_000 + b"1]}"

    answer = httpx.post(url, content=bomb, timeout=60)

    assert answer.status_code == 413
    assert "bytes of memory or more; at most 8388608 are allowed" in answer.json()["error"]


def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_error_of_the_server(service: RunningServer) -> None:
    with connect(service, HEAD + b"[" * 100_000):
        until("its bytes to be held", lambda: bool(metric(service, "thalweg_interface_load", "request_bytes")))

    until("them to be given back", lambda: not metric(service, "thalweg_interface_load", "request_bytes"))


def test_an_overloaded_server_says_when_to_retry(service: RunningServer) -> None:
    slots = service.server._workers
    url = f"http://127.0.0.1:{service.server.http_port}/v2/models/m/infer"
    slots.pause()
    try:
        slots.overloaded, before = (lambda: True), slots.overloaded  # type: ignore[method-assign]
        answer = httpx.post(url, json={"inputs": [TENSOR]}, timeout=60)
    finally:
        slots.overloaded = before  # type: ignore[method-assign]
        slots.resume()

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert httpx.get(f"http://127.0.0.1:{service.server.http_port}/healthz").is_success


CROWD = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (260, 4096))
from tests.ops.serve.serving import served
from tests.ops.serve.test_server import answered_beside_them
from contextlib import ExitStack
import grpc._channel, httpcore  # as clients do when they are made first: here no file is left to open for it
from thalweg.ops.run.logs import configure
configure("console")
with served(Path(sys.argv[1])) as parts:
    print(parts.server.http_port, parts.server.grpc_port, flush=True)
    sys.stdin.readline()
    with ExitStack() as stack:
        answered_beside_them(parts, stack)
    print("answered", flush=True)
"""


@pytest.mark.slow
def test_more_connections_than_the_process_may_open_files_stop_nobody_and_fill_no_log(tmp_path: Path) -> None:
    command, pipe = [sys.executable, "-c", CROWD, str(tmp_path)], subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        http = int(process.stdout.readline().split()[0])
        for _ in range(350):
            stack.enter_context(socket.create_connection(("127.0.0.1", http), timeout=60))
        output, errors = process.communicate("go\n", timeout=120)

    assert output.strip() == "answered", errors[-3000:]
    assert len(errors) < 20_000


class Lines:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


def test_of_a_repeated_line_one_a_second_is_written_with_the_number_of_those_left_out() -> None:
    now, lines = [0.0], Lines()
    log = RareLog(lines, lambda: now[0])

    for _ in range(1000):
        log.warning("no", of="the same")
        log.warning("another")
    now[0] = 1.0
    log.warning("no", of="the same")

    assert lines.lines == [
        {"event": "no", "of": "the same"},
        {"event": "another"},
        {"event": "no", "of": "the same", "left_out": 999},
    ]


def test_lines_of_the_standard_library_are_limited_by_their_template() -> None:
    now = [0.0]
    lines = RareLines(lambda: now[0])
    records = [
        logging.LogRecord("x", 30, "f", 1, template, (number,), None) for number in range(9) for template in "ab"
    ]

    assert [lines.filter(record) for record in records] == [True, True, *[False] * 16]


def test_a_line_that_comes_again_later_says_how_many_were_left_out() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0], 60.0)
    assert [rate.passes("lost") for _ in range(5)] == [0, None, None, None, None]
    now[0] = 59.0
    assert rate.passes("lost") is None
    assert rate.passes("found") == 0
    now[0] = 60.0
    assert rate.passes("lost") == 5


def test_half_sent_messages_that_take_too_much_memory_end_and_others_are_answered(tmp_path: Path) -> None:
    with served(tmp_path, limits=ServerLimits(requests_bytes=30 << 20)) as parts, ExitStack() as stack:
        for _ in range(6):
            half = HalfSent(parts.server.grpc_port, INFER, 20 << 20)
            stack.callback(half.close)
            assert half.send(60)
        until("the oldest to end", lambda: refusals(parts, "bytes_in_flight") >= 3)

        answered_beside_them(parts, stack)
        assert metric(parts, "thalweg_interface_load", "grpc_half_open_calls") <= 3


def test_memory_that_was_in_use_before_is_no_growth() -> None:
    used = [100]
    growth = MemoryGrowth(50, lambda: used[0])
    assert not growth.exceeded(0.0)
    growth.sample(1.0)
    used[0] = 151
    growth.sample(2.0)

    assert growth.exceeded(0.5)
    assert growth.exceeded(1.5)
    assert not growth.exceeded(2.0)
