"""Whether something outside can be reached is asked at intervals and told."""

from __future__ import annotations

from tests.services.processes import until
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import Health


def test_what_goes_and_comes_back_is_told_both_times() -> None:
    health, there = Health("log"), [True]

    def ask() -> None:
        if not there[0]:
            raise OSError("no broker answers")

    probe = Probe("the log", ask, health, every_seconds=0.01)
    probe.start()
    until("the first answer", lambda: health.now().state == "running")
    there[0] = False
    until("the outage to be told", lambda: health.now().state == "waiting")
    found = health.now()
    there[0] = True
    until("its end to be told", lambda: health.now().state == "running")
    probe.close()

    assert found.reason == "the log is out of reach: no broker answers"
    assert health.now().restarts == 0
