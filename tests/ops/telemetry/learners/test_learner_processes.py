"""Several learner processes in the eyes of a server: one that is gone costs its own models, by name, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.ops.serve.serving import RunningServer, served
from tests.ops.telemetry.test_metrics import report_of, samples
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.learners.pages import metrics_page
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.process_health import HealthFile, LearnerProcess, health_file, learner_role
from thalweg.ops.telemetry.processes import running_processes
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.ops.telemetry.status import LearnerStatus, Statuses
from thalweg.stream.health.registry import HealthRegistry

HOMES = {"m": (1,), "empty": (2,)}


class Two:
    """Two learner processes, and a server that looks at them."""

    def __init__(self, parts: RunningServer) -> None:
        self.seconds = 0.0
        self.live = parts.live
        self.registries = {number: HealthRegistry(clock=self.clock, ticks=lambda: self.seconds) for number in (1, 2)}
        self.files = {n: HealthFile(self.live, one, self.clock, learner_role(n)) for n, one in self.registries.items()}
        for model, (number,) in HOMES.items():
            self.registries[number].register("learner", model).running()
            self.registries[number].register("metrics_file").running()
        self.seen = LearnerProcesses(self.live, HOMES, self.process)
        self.health = ServiceHealth(parts.server.models, learners=self.seen)

    def process(self, live: Path, number: int, models: Sequence[str]) -> LearnerProcess:
        return LearnerProcess(live, clock=self.clock, ticks=lambda: self.seconds, number=number, models=models)

    def clock(self) -> float:
        return 1000.0 + self.seconds

    def tell(self, *numbers: int) -> None:
        for number in numbers:
            (self.live / health_file(learner_role(number))).write_bytes(self.files[number].render())

    def states(self, model: str) -> dict[str, str]:
        return {one.component: one.state.value for one in self.health.by_model()[model]}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with served(tmp_path) as parts:
        made = Two(parts)
        made.tell(1, 2)
        yield made


def test_each_model_depends_on_its_own_process(two: Two) -> None:
    assert two.states("m") == {"learner": "running", "learner_process": "running"}
    assert two.states("empty") == {"learner": "running", "learner_process_2": "running"}
    assert list(running_processes(None, two.seen)) == ["server", "learner", "learner-2"]


def test_one_that_falls_silent_costs_its_own_models_and_is_told_with_their_names(two: Two) -> None:
    two.seconds = 12.0
    two.tell(1)

    assert two.states("m") == {"learner": "running", "learner_process": "running"}
    assert two.states("empty") == {"learner": "failed", "learner_process_2": "failed"}
    why = "learner process 2 has not been heard of for 12 s; it has empty"
    assert f"learner process 2: {why}" in two.health.degraded()
    assert [line for line in two.health.degraded() if why in line] == [f"learner process 2: {why}"]
    assert two.health.serving()["m/learning"]
    assert not two.health.serving()["empty/learning"]
    up = {role: process.up for role, process in running_processes(None, two.seen).items()}
    assert up == {"server": True, "learner": True, "learner-2": False}


def test_of_one_that_was_never_heard_of_the_models_are_failed_after_a_while_and_no_others(two: Two) -> None:
    (two.live / "health-learner-2.json").unlink()
    two.seen = LearnerProcesses(two.live, HOMES, two.process)
    two.health.learners = two.seen
    assert two.states("empty") == {"learner": "starting", "learner_process_2": "starting"}

    two.seconds = 12.0
    two.tell(1)

    assert two.states("empty") == {"learner": "failed", "learner_process_2": "failed"}
    assert two.states("m")["learner"] == "running"


def test_a_learner_that_failed_in_one_process_is_told_though_the_other_is_gone(two: Two) -> None:
    two.seconds = 12.0
    two.registries[2].register("learner", "empty").failed("no state today")
    two.tell(2)

    assert two.health.learner_problem("empty") == "its learner stands still: no state today"
    assert two.health.learner_problem("m") == ""  # its process is gone, which is told elsewhere


def test_of_a_process_whose_models_were_all_refused_each_says_why(two: Two) -> None:
    two.registries[2].register("learner", "empty").ended("was made under other settings")
    two.files[2].start()
    two.files[2].close()
    two.seconds = 1.0

    (learner,) = [one for one in two.health.by_model()["empty"] if one.component == "learner"]
    assert (learner.state, learner.reason) == ("failed", "was made under other settings")
    assert "learner process 2: learner process 2 has ended; it has empty" in two.health.degraded()
    assert "model 'empty': learner failed: was made under other settings" in two.health.degraded()


def test_many_models_of_one_process_are_counted_after_the_first(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(9)]
    gone = LearnerProcess(tmp_path, ticks=iter([0.0, *[11.0] * 9]).__next__, number=2, models=names)

    assert gone.problem.endswith("; it has m0, m1, m2, m3, m4 and 4 more")


def test_what_a_process_told_before_a_model_went_to_another_is_forgotten(two: Two) -> None:
    two.registries[1].register("learner", "empty").failed("long ago")  # it had the model in the run before
    two.tell(1)
    two.seconds = 1.0

    assert two.states("empty")["learner"] == "running"


def test_their_pages_are_one_in_which_no_series_stands_twice(tmp_path: Path) -> None:
    def page(number: int, **events: int) -> None:
        metrics = LearnerMetrics(metrics_page(tmp_path, learner_role(number)))
        for model, count in events.items():
            metrics.model(model)
            metrics._metrics["thalweg_published_total"].labels(model).inc(count)
        metrics.start()
        metrics.close()

    page(3, gone=1)  # of a run with three processes
    page(2, empty=3, m=8)  # of the run before, when it had both
    page(1, m=5)
    with served(tmp_path) as parts:
        health = ServiceHealth(parts.server.models, learners=LearnerProcesses(tmp_path, HOMES))
        text = ServerMetrics(tmp_path, health=health).render()[0].decode()

    lines = [line for line in text.splitlines() if line.startswith("thalweg_published_total")]
    assert sorted(lines) == [
        'thalweg_published_total{model_name="empty"} 3.0',
        'thalweg_published_total{model_name="m"} 5.0',
    ]
    assert text.count("# TYPE thalweg_published_total ") == 1


def test_a_shard_that_went_from_a_process_that_died_to_another_is_well(tmp_path: Path) -> None:
    homes = {"m": (1, 2)}
    with served(tmp_path) as parts:
        two = Two(parts)
        two.seen = LearnerProcesses(two.live, homes, two.process)
        two.health.learners = two.seen
        two.registries[2].register("learner", "m~3").running()
        two.registries[2].register("learner", "m").running()
        two.tell(1, 2)
        assert two.states("m")["learner"] == "running"
        two.seconds = 12.0
        two.tell(1)
        assert [one.state.value for one in two.seen.components() if one.model == "m~3"] == ["failed"]

        two.registries[1].register("learner", "m~3").running()
        two.tell(1)
        two.seconds = 12.5

        found = {(one.component, one.model): one.state.value for one in two.seen.components()}
        assert found["learner", "m~3"] == found["learner", "m"] == "running"
        assert found["learner_process_2", ""] == "failed"
        assert two.seen.problem("m") == ""
        assert not two.health.serving()["m/learning"]


def test_what_processes_counted_of_a_shard_that_moved_is_added_up_and_a_gauge_is_the_newest(tmp_path: Path) -> None:
    for number, (count, gauge) in enumerate(((3, 5.0), (4, 6.0)), 1):
        metrics = LearnerMetrics(metrics_page(tmp_path, learner_role(number)))
        model = metrics.model("m~3")
        for _ in range(count):
            model.published(1, 0.001, 0.0)
        model.reported(report_of(gauges={"memory_entries": gauge}))
        metrics.start()
        metrics.close()
    with served(tmp_path) as parts:
        health = ServiceHealth(parts.server.models, learners=LearnerProcesses(tmp_path, {"m": (1, 2)}))
        found = samples(ServerMetrics(tmp_path, health=health).render()[0])

    m = ("model_name", "m~3")
    assert found["thalweg_published_total", (m,)] == 7
    assert found["thalweg_publish_duration_seconds_count", (m,)] == 7
    assert found["thalweg_publish_duration_seconds_bucket", (("le", "+Inf"), m)] == 7
    assert found["thalweg_memory_entries", (m,)] == 6


def test_the_newest_status_of_a_model_counts_whichever_process_told_it(tmp_path: Path) -> None:
    for number, (at, models) in enumerate(((50.0, ["m", "empty"]), (60.0, ["empty"])), 1):
        told = LearnerStatus(tmp_path, clock=lambda at=at: at, role=learner_role(number))  # type: ignore[misc]
        for model in models:
            told.model(model)
        told.start()
        told.close()

    read = Statuses(tmp_path)

    assert [(read.of(model) or {})["time"] for model in ("m", "empty")] == [50.0, 60.0]
