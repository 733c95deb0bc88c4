"""Two learner processes as they run: what happens to one costs the other nothing, and no event is lost or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.ops.running import Service, service, until
from tests.services import warm
from tests.services.processes import PATIENCE, stop
from thalweg.memory.snapshots.snapshots import FolderSnapshots

pytestmark = pytest.mark.slow


def two_models(running: Service) -> None:
    """A second model `n` on the same topic, and two learner processes; `m` has the first, `n` the second."""
    text = running.path.read_text()
    table = text[text.index("[[model]]") :].replace('name = "m"', 'name = "n"')
    running.path.write_text(text.replace("[service]", "[service]\nlearners = 2") + table)


def newest(running: Service, model: str) -> Any:
    kept = FolderSnapshots(running.folder / "state" / model).manifests()
    return kept[-1] if kept else None


def learned(running: Service, model: str) -> float | None:
    return running.metric("thalweg_learned_events", model_name=model)


def consumed(running: Service, model: str) -> float:
    return running.metric("thalweg_events_consumed_total", model_name=model) or 0.0


def test_one_that_is_killed_costs_the_other_nothing_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        two_models(running)
        running.send(100)
        supervisor = running.start()
        until("both to learn", lambda: learned(running, "m") == learned(running, "n") == 100)
        first, second = running.pid("learner"), running.pid("learner-2")
        assert None not in (first, second)
        assert first != second

        for round_ in range(1, 3):
            running.send(70)
            until("its page to tell", lambda life=round_: consumed(running, "n") >= 100 * life)
            counted = consumed(running, "n")
            running.kill("learner-2")
            running.send(30)
            until("another", lambda killed=second: running.pid("learner-2") not in (None, killed))
            second = running.pid("learner-2")
            assert consumed(running, "n") >= counted
            until(
                "both to learn on",
                lambda all_=100 * (round_ + 1): learned(running, "m") == learned(running, "n") == all_,
            )
        assert running.pid("learner") == first
        restarts = {
            role: running.metric("thalweg_process_restarts_total", role=role) for role in ("learner", "learner-2")
        }
        assert restarts == {"learner": 0, "learner-2": 2}
        assert running.metric("thalweg_component_restarts_total", component="learner", model_name="m") == 0
        assert stop(supervisor) == 0, running.text()

        assert [newest(running, name).events_learned for name in "mn"] == [300, 300]
        verified = warm.run("snapshot", "verify", str(running.path), "--model", "n", "--replay", timeout=PATIENCE)
        assert verified.returncode == 0, verified.stdout + verified.stderr  # it is the state of an undisturbed run


def test_while_one_is_stopped_the_other_learns_and_only_its_own_model_is_failed(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        two_models(running)
        running.send(50)
        running.start()
        until("both to learn", lambda: learned(running, "m") == learned(running, "n") == 50)
        os.kill(until("the second", lambda: running.pid("learner-2")), signal.SIGSTOP)

        running.send(50)

        until("the other to learn on", lambda: learned(running, "m") == 100)
        failed = {"component": "learner", "state": "failed"}
        until("it to be told", lambda: running.metric("thalweg_component_state", **failed, model_name="n") == 1)
        assert running.metric("thalweg_component_state", **failed, model_name="m") == 0
        assert learned(running, "n") == 50
        assert "learner process 2 has not been heard of for" in running.get("/readyz")[1]
        running.kill("learner-2")
        until("it to learn on, too", lambda: learned(running, "n") == 100)


def test_learners_without_servers_are_supervised_as_well(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        two_models(running)
        running.send(100)
        process = running.start("learn")
        until("both to learn", lambda: all((kept := newest(running, name)) and kept.events_learned for name in "mn"))
        assert running.pid("learner-2") is not None
        assert not running.ready()

        assert stop(process) == 0, running.text()
        assert running.text().count("a process died") == 0


def test_a_model_that_is_refused_leaves_the_other_process_at_work(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        two_models(running)
        running.send(50)
        first = running.start()
        until("both to learn", lambda: learned(running, "m") == learned(running, "n") == 50)
        assert stop(first) == 0
        head, _, table = running.path.read_text().rpartition("[[model]]")
        table = table.replace('name = "n"', 'name = "n"\non_change = "refuse"\nseed = 7')
        running.path.write_text(f"{head}[[model]]{table}")

        supervisor = running.start()
        running.send(50)

        until("the other to learn on", lambda: learned(running, "m") == 100)
        until("the second to end", lambda: running.pid("learner-2") is None and "cannot run" in running.text())
        until("why to be told", lambda: "seed: was 0, is 7" in running.get("/readyz")[1])
        assert learned(running, "n") == 50
        assert supervisor.poll() is None
        assert stop(supervisor) == 0, running.text()


def test_a_number_beyond_the_models_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        two_models(running)
        done = warm.run("serve", str(running.path), "--role", "learn", "--learner", "3", timeout=PATIENCE)

        assert done.returncode == 2
        assert "service.learners: no model is left for learner-3" in done.stderr
