"""A heartbeat is heard over a pipe; silence is counted only while the supervisor itself runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.services.processes import until
from thalweg.ops.run import heartbeat
from thalweg.ops.run.heartbeat import HEARTBEAT, Heartbeat

BEATING = "from thalweg.ops.run import heartbeat; heartbeat.begin(); input()"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: found[0])
    return found


@pytest.fixture
def pulse(now: list[float]) -> Iterator[Heartbeat]:
    made = Heartbeat()
    yield made
    made.close()


def test_a_process_is_heard_until_it_ends() -> None:
    pulse = Heartbeat()
    environment = {**os.environ, HEARTBEAT: str(pulse.write)}
    command = [sys.executable, "-c", BEATING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, pass_fds=[pulse.write]) as process:
        pulse.started()
        until("two heartbeats", lambda: pulse.listen() == 0.0)
        until("silence between two", lambda: pulse.listen() > 0.0)
        until("another heartbeat", lambda: pulse.listen() == 0.0)
        process.kill()
    until("silence", lambda: pulse.listen() > 0.0)
    pulse.close()


def test_silence_adds_up_and_one_heartbeat_ends_it(pulse: Heartbeat, now: list[float]) -> None:
    for _ in range(10):
        now[0] += 0.5
        pulse.listen()
    assert pulse.silent_seconds == 5.0

    os.write(pulse.write, b".")

    assert pulse.listen() == 0.0


def test_while_the_supervisor_does_not_run_nobody_is_silent(pulse: Heartbeat, now: list[float]) -> None:
    now[0] += 3600.0

    assert pulse.listen() == 1.0


def test_a_pipe_that_nobody_empties_stops_no_process() -> None:
    pulse = Heartbeat()
    with suppress(BlockingIOError):
        while True:
            os.write(pulse.write, b"." * 4096)

    environment = {**os.environ, HEARTBEAT: str(pulse.write)}
    done = subprocess.run(
        [sys.executable, "-c", BEATING], input=b"\n", env=environment, pass_fds=[pulse.write], capture_output=True
    )

    assert (done.returncode, done.stderr) == (0, b"")
    pulse.close()
