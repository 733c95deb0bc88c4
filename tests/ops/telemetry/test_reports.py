"""Pages that are made while a model learns: each has the figures of one moment, and a quiet stream's are the last."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from tests.stream.evaluation.test_monitor import INPUTS, events
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.report_metrics import REPORTED
from thalweg.ops.telemetry.status import ModelStatus, finite, reported
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.learn.observer import LearnerReport, NoObserver, each
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog

SETTINGS = ProcessorSettings(
    model="m", topic="t", batch_events=32, batch_seconds=0, idle_seconds=0.01, snapshot_seconds=1e9, block_bytes=4000
)
FROM_THE_CLOCK = "thalweg_lag_seconds"


class Kept(NoObserver):
    """Every report that was made."""

    def __init__(self) -> None:
        self.reports: list[LearnerReport] = []

    def reported(self, report: LearnerReport) -> None:
        self.reports.append(report)


def ridge(**params: Any) -> Ridge:
    return Ridge(LearnerContext(inputs=INPUTS, params={"expansion": 0, **params}))


def shown(page: bytes) -> str:
    """What a page shows of reports."""
    names = {*REPORTED, "thalweg_classes"} - {FROM_THE_CLOCK}
    return "\n".join(line for line in page.decode().splitlines() if line.split("{")[0] in names)


def page_of(report: LearnerReport) -> str:
    metrics = LearnerMetrics()
    metrics.model("m").reported(report)
    return shown(metrics.render())


def table_of(report: LearnerReport) -> str:
    return json.dumps(finite(reported(report)))


class Service:
    """A processor in its thread, and what pages are made of."""

    def __init__(self, log: InMemoryLog, **params: Any) -> None:
        self.metrics, self.status, self.kept = LearnerMetrics(), ModelStatus(), Kept()
        learner = ridge(**params)
        self.monitor = Monitor(learner, lambda: ridge(**params), window_events=300, frozen_after=500)
        told = each(self.kept, self.metrics.model("m", self.monitor.drift.watchers()), self.status)
        self.processor = Processor(
            learner, log, InMemorySnapshots(), SETTINGS, evaluator=self.monitor, ports=Ports(observer=told)
        )
        self.thread = threading.Thread(target=self.processor.run, daemon=True)

    def stop(self) -> None:
        self.processor.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()


def until(true: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_pages_made_while_learning_goes_on_are_each_those_of_one_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.stream.learn.reporting.REPORT_SECONDS", 0.0)  # after every block
    log = InMemoryLog()
    log.append("t", events(3000, turned=1500))
    service = Service(log)
    pages: list[bytes] = []
    tables: list[str] = []

    def hammer() -> None:
        while service.thread.is_alive():
            pages.append(service.metrics.render())
            tables.append(json.dumps(service.status.table()))
            time.sleep(0.003)  # a page is large, and the learner is to go on meanwhile

    asking = [threading.Thread(target=hammer) for _ in range(2)]
    service.thread.start()
    for thread in asking:
        thread.start()
    until(lambda: service.monitor.events == 3000)
    service.stop()
    for thread in asking:
        thread.join()

    made = {page_of(report) for report in service.kept.reports} | {page_of_nothing()}
    found = {shown(page) for page in pages}
    assert len(found) > 5
    assert found <= made
    known = [json.loads(table_of(report)) for report in service.kept.reports]
    for table in map(json.loads, tables):
        if "metrics" in table:
            assert any(all(table[key] == value for key, value in one.items()) for one in known)


def page_of_nothing() -> str:
    metrics = LearnerMetrics()
    metrics.model("m")
    return shown(metrics.render())


def test_after_the_stream_goes_quiet_the_page_is_that_of_the_last_event() -> None:
    log, stream = InMemoryLog(), events(900, turned=10_000)
    service = Service(log)
    service.thread.start()
    for end in (300, 600, 900):  # in less than the second between two reports
        log.append("t", stream[end - 300 : end])
        until(lambda end=end: service.monitor.events == end)

    until(lambda: service.kept.reports[-1].evaluation.events == 900)  # type: ignore[union-attr]
    page, table, running = shown(service.metrics.render()), service.status.table(), service.thread.is_alive()
    service.stop()

    assert running  # it was told while nothing came, not because the end did
    assert page == page_of(service.kept.reports[-1])
    assert table["events"] == 900
    assert table["metrics"] == service.monitor.metrics()
    assert table["gauges"]["classes"] == 2
    assert table["state_bytes"] > 0


def test_the_counts_of_a_quiet_stream_are_final_those_of_the_learner_too() -> None:
    log, stream = InMemoryLog(), events(2000, turned=10_000)
    service = Service(log, max_classes=1)  # every event of the second class is skipped

    def counted(name: str) -> float:
        lines = service.metrics.render().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))

    service.thread.start()
    for end in (500, 1000, 1500, 2000):  # the last within a second of the report before
        log.append("t", stream[end - 500 : end])
        until(lambda end=end: service.monitor.events == end)
    second = sum(json.loads(message.value)["label"] != json.loads(stream[0].value)["label"] for message in stream)

    until(lambda: counted("thalweg_events_skipped_total") == second)
    running = service.thread.is_alive()
    service.stop()

    assert running
    assert counted("thalweg_events_consumed_total") == counted("thalweg_events_learned_total") == 2000
