"""The health of a part that reads the log."""

from __future__ import annotations

from thalweg.stream.health.registry import Health
from thalweg.stream.log.log import Reader


def report_reading(health: Health, reader: Reader) -> None:
    """Running while the reader can read; otherwise why it cannot, and whether waiting helps."""
    problem = reader.problem()
    if problem is None and reader.reached():
        health.running()
    elif problem is None:
        health.waiting("the log is out of reach")
    elif problem.permanent:
        health.failed(problem.reason)
    elif reader.reached() or problem.partly:
        health.degraded(problem.reason)  # some records cannot be read, the others are
    else:
        health.waiting(problem.reason)
