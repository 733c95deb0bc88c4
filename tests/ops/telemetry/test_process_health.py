"""The learner process in the eyes of a server: what it tells, and what is told of it when it is silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thalweg.ops.telemetry.process_health import HEALTH_FILE, SILENT, STUCK, SUPERVISOR_FILE, HealthFile, LearnerProcess
from thalweg.stream.health.registry import HealthRegistry


class Server:
    """A server that looks at a learner process, and the learner process."""

    def __init__(self, live: Path) -> None:
        self.seconds = 0.0
        self.live = live
        self.registry = HealthRegistry(clock=self.clock, ticks=lambda: self.seconds)
        self.file = HealthFile(live, self.registry, clock=self.clock)
        self.seen = LearnerProcess(live, clock=self.clock, ticks=lambda: self.seconds)

    def clock(self) -> float:
        return 1000.0 + self.seconds

    def tell(self) -> None:
        (self.live / HEALTH_FILE).write_bytes(self.file.render())

    def states(self) -> dict[str, str]:
        self.seconds += 0.3
        return {one.component: one.state.value for one in self.seen.components()}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    made = Server(tmp_path)
    made.registry.register("learner", "m").running()
    return made


def test_what_it_tells_is_known(server: Server) -> None:
    server.tell()

    assert server.states() == {"learner_process": "running", "learner": "running"}
    assert server.seen.up


def test_one_that_was_never_heard_of_has_some_seconds_to_start(server: Server) -> None:
    assert server.states() == {"learner_process": "starting"}
    assert not server.seen.up
    server.seconds = 11.0

    assert server.states() == {"learner_process": "failed"}


def test_of_one_that_falls_silent_every_part_is_failed_until_it_is_heard_again(server: Server) -> None:
    server.tell()
    assert server.seen.up
    server.seconds = 12.0

    assert server.states() == {"learner_process": "failed", "learner": "failed"}
    assert server.seen.problem == "the learner process has not been heard of for 12 s"
    assert not server.seen.up
    server.tell()
    assert server.states() == {"learner_process": "running", "learner": "running"}


def test_one_that_was_restarted_after_it_died_is_degraded_for_a_while_one_that_had_ended_is_not(
    server: Server, tmp_path: Path
) -> None:
    def restart() -> None:
        server.file = HealthFile(server.live, server.registry, clock=server.clock)
        server.tell()

    server.tell()
    assert server.states()["learner_process"] == "running"
    restart()

    assert server.states()["learner_process"] == "degraded"
    assert server.seen.components()[0].restarts == 1
    assert server.seen.up
    server.seconds += 65.0
    server.tell()
    assert server.states()["learner_process"] == "running"
    server.file.start()
    server.file.close()
    assert server.states()["learner_process"] == "failed"
    restart()
    assert server.states()["learner_process"] == "running"
    assert server.seen.components()[0].restarts == 1


def test_of_one_that_was_restarted_its_supervisor_knows_why(server: Server) -> None:
    told = []
    for roles in (None, {"learner": {"cause": SILENT}}, {"learner": {"cause": ""}}, {"learner": {}}):
        server.tell()
        server.states()
        if roles is not None:
            (server.live / SUPERVISOR_FILE).write_text(json.dumps({"roles": roles}))
        server.file = HealthFile(server.live, server.registry, clock=server.clock)
        server.tell()
        server.states()
        told.append(server.seen.components()[0].reason.removeprefix("the learner process was restarted after it "))

    assert told == [
        "ended unexpectedly",
        "sent no heartbeat and was killed",
        "ended unexpectedly",
        "ended unexpectedly",
    ]


def test_of_one_with_a_stuck_part_the_part_is_named(server: Server) -> None:
    server.registry.register("learner", "digits", silent_seconds=30)
    server.seconds += 31.0
    server.tell()
    server.states()
    (server.live / SUPERVISOR_FILE).write_text(json.dumps({"roles": {"learner": {"cause": STUCK}}}))
    server.file = HealthFile(server.live, server.registry, clock=server.clock)
    server.tell()

    assert server.states()["learner_process"] == "degraded"
    reason = server.seen.components()[0].reason
    assert reason == "the learner process was restarted after a part of it was stuck: learner digits"


def test_a_file_that_is_left_from_another_time_is_no_sign_of_life(server: Server) -> None:
    server.tell()
    server.seconds = 500.0
    later = LearnerProcess(server.live, clock=server.clock, ticks=lambda: server.seconds)

    assert "not been heard of for 500 s" in later.problem


def test_a_clock_that_jumps_makes_nobody_silent(server: Server) -> None:
    server.tell()
    assert server.seen.up
    jumped = json.loads(server.file.render())
    server.seconds += 1.0
    (server.live / HEALTH_FILE).write_text(json.dumps({**jumped, "time": jumped["time"] - 86_400.0}))

    assert server.seen.up


def test_one_that_ended_as_asked_is_not_running_either(server: Server, tmp_path: Path) -> None:
    server.file.start()
    server.file.close()

    assert server.states()["learner"] == "failed"
    assert server.seen.problem == "the learner process has ended"


@pytest.mark.parametrize("content", ["", "[]", '{"time": 1}', '{"time": 1, "started": 1, "pid": 1, "ended": 0}'])
def test_a_damaged_file_leaves_what_was_told_before(server: Server, content: str) -> None:
    server.tell()
    assert server.seen.up
    (server.live / HEALTH_FILE).write_text(content)

    assert server.states() == {"learner_process": "running", "learner": "running"}
