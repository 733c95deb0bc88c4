"""Models in one learner process: what goes wrong with one costs the others nothing, and is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.samples import FEATURES, events
from tests.services.processes import until
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract import registry as learners
from thalweg.models.contract.registry import BuiltIn
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config, load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.learning import Learning
from thalweg.ops.telemetry.process_health import STUCK_EXIT_CODE
from thalweg.proto.event import Batch
from thalweg.stream.health.registry import ComponentHealth, HealthRegistry
from thalweg.stream.health.watchdog import Watchdog
from thalweg.stream.learn.settings import StateMismatch
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.open import open_log

HERE = "tests.ops.run.test_learning"


class Moody(Ridge):
    """A plug-in whose state cannot be saved, which no contract test of its author has shown."""

    def state(self) -> State:
        raise RuntimeError("no state today")


class Leaving(Ridge):
    """A plug-in that tries to end the process."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._made = threading.current_thread() is not threading.main_thread()

    def learn(self, batch: Any) -> None:
        if self._made:
            raise SystemExit(3)


class Stuck(Ridge):
    """A plug-in whose `learn` returns when it is let go, and no sooner."""

    go = threading.Event()

    def learn(self, batch: Any) -> None:
        self.go.wait()
        super().learn(batch)


POISON = 13.0
"""The first feature of an event at which `Poisoned` does not come back."""


class Poisoned(Ridge):
    """A plug-in that a certain event blocks for ever, or whose process it ends: by the environment's POISON."""

    def learn(self, batch: Any) -> None:
        if (batch.inputs["features"][:, 0] == POISON).any():
            match os.environ["POISON"]:
                case "blocks":
                    threading.Event().wait()
                case "exits":
                    os._exit(66)
                case "is killed":
                    os.kill(os.getpid(), signal.SIGKILL)
        super().learn(batch)


@pytest.fixture(autouse=True)
def _plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Moody", "Leaving", "Stuck", "Poisoned"):
        monkeypatch.setitem(learners.BUILT_IN, name.lower(), BuiltIn(f"{HERE}:{name}", "a plug-in"))


def configuration(folder: Path, service: str = "", **models: str) -> Config:
    """Models `a` and so on, each with the rest of its table."""
    tables = [
        f'[[model]]\nname = "{name}"\ntopic = "t"\nsnapshot_events = 10\n'
        f'inputs.features = {{ shape = [{FEATURES}], dtype = "float32" }}\n{rest}\n'
        for name, rest in models.items()
    ]
    path = folder / "thalweg.toml"
    path.write_text(f'[service]\nstate_dir = "{folder}/state"\n{service}' + "".join(tables))
    return load(path, {})


@contextmanager
def learning(config: Config, log: InMemoryLog) -> Iterator[tuple[Learning, HealthRegistry]]:
    registry, live = HealthRegistry(), Path(config.service.state_dir) / "live"
    live.mkdir(parents=True, exist_ok=True)
    made = Learning(config, log, InMemoryCommandQueue(), live, registry)
    made.start()
    try:
        yield made, registry
    finally:
        made.close()


def learner(registry: HealthRegistry, model: str) -> ComponentHealth:
    return next(one for one in registry.report() if (one.component, one.model) == ("learner", model))


def poisoned_events() -> Batch:
    made = events(20)
    made.inputs["features"][7, 0] = POISON
    return made


def saved(config: Config, model: str) -> int:
    kept = FolderSnapshots(Path(config.service.state_dir) / model).manifests()
    return kept[-1].events_learned if kept else 0


@pytest.mark.parametrize("plug_in", ["moody", "leaving"])
def test_a_learner_that_raises_is_restarted_and_counted_while_the_other_model_goes_on(
    tmp_path: Path, plug_in: str
) -> None:
    config = configuration(tmp_path, a='learner = "ridge"', b=f'learner = "{plug_in}"')
    log = InMemoryLog()
    log.append("t", messages(events(20), 1))
    with learning(config, log) as (running, registry):
        until("restarts of the one", lambda: learner(registry, "b").restarts >= 2)
        why = "no state today" if plug_in == "moody" else "SystemExit: 3"
        until("the reason to be told", lambda: why in learner(registry, "b").reason)
        log.append("t", messages(events(20, 20), 1))
        until("the other to learn on", lambda: saved(config, "a") == 40)
        a, b = learner(registry, "a"), learner(registry, "b")
        assert running.refused is None

    assert (a.state, a.restarts) == ("running", 0)
    assert not b.well


def test_a_learner_that_is_stuck_is_found_while_the_other_model_goes_on(tmp_path: Path) -> None:
    config = configuration(tmp_path, "silent_seconds = 1.0\n", a='learner = "ridge"', b='learner = "stuck"')
    log, found = InMemoryLog(), list[str]()
    log.append("t", messages(events(20), 1))
    Stuck.go.clear()
    with learning(config, log) as (_, registry):
        dog = Watchdog(registry, 2.0, lambda part: found.append(f"{part.component} {part.model}"))
        dog.start()
        until("it to be found", lambda: "learner b" in found)  # on a busy machine others may be silent for a moment
        log.append("t", messages(events(20, 20), 1))
        until("the other to learn on", lambda: saved(config, "a") == 40)
        b = learner(registry, "b")
        Stuck.go.set()
        until("it to learn on as well", lambda: saved(config, "b") == 40)
        a = learner(registry, "a")
        dog.close()

    assert (a.state, a.restarts) == ("running", 0)
    assert b.state == "failed"
    assert "no sign of life" in b.reason


def run_learner_process(folder: Path, poison: str) -> subprocess.CompletedProcess[bytes]:
    """One learner process; it stops by itself once model `a` has learned all but one of 20 events."""
    bounds = "silent_seconds = 2.0\nstuck_seconds = 1.0\n" if poison == "blocks" else ""  # else a busy machine is stuck
    service = bounds + '[log]\nurl = "sqlite:log.db"\n[store]\nurl = "sqlite:s.db"\n'
    text = f"""if True:
        import threading
        from pathlib import Path
        import {HERE} as here
        from thalweg.models.contract.registry import BUILT_IN, BuiltIn
        from thalweg.ops.run.app import open_configured_log
        from thalweg.ops.run.processes import run_learners
        BUILT_IN["poisoned"] = BuiltIn("{HERE}:Poisoned", "a plug-in")
        config = here.configuration(Path("."), {service!r}, a='learner = "poisoned"')
        log, stop = open_configured_log(config), threading.Event()
        if not sum(last for _, last in log.bounds("t").values()):
            log.append("t", here.messages(here.poisoned_events(), 1))
        def ends():
            here.until("it to learn", lambda: here.saved(config, "a") == 19)
            stop.set()
        threading.Thread(target=ends, daemon=True).start()
        run_learners(config, stop)
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part), "POISON": poison}
    return subprocess.run([sys.executable, "-c", text], cwd=folder, env=env, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(("poison", "code"), [("blocks", STUCK_EXIT_CODE), ("exits", 66), ("is killed", -9)])
def test_an_event_that_ends_the_process_is_found_and_left_out_after_a_few_restarts(
    tmp_path: Path, poison: str, code: int
) -> None:
    codes = []
    while not codes or codes[-1]:
        done = run_learner_process(tmp_path, poison)
        codes.append(done.returncode)
        assert len(codes) < 7, done.stdout.decode() + done.stderr.decode()

    assert codes == [code, code, code, code, 0]
    (letter,) = DeadLetters(open_log(f"sqlite:{tmp_path}/log.db"), "t", "a").newest(9)
    assert (letter.reason, letter.offset) == ("learner_error", 7)
    assert "processes ended while it was tried" in letter.detail


@pytest.mark.slow
def test_a_learner_process_with_a_stuck_learner_ends_and_its_supervisor_is_told_so(tmp_path: Path) -> None:
    service = 'silent_seconds = 1.0\nstuck_seconds = 1.0\n[log]\nurl = "sqlite:log.db"\n[store]\nurl = "sqlite:s.db"\n'
    text = f"""if True:
        import threading
        from pathlib import Path
        import {HERE} as here
        from thalweg.models.contract.registry import BUILT_IN, BuiltIn
        from thalweg.ops.run.app import open_configured_log
        from thalweg.ops.run.processes import run_learners
        BUILT_IN["stuck"] = BuiltIn("{HERE}:Stuck", "a plug-in")
        config = here.configuration(Path("."), {service!r}, b='learner = "stuck"')
        open_configured_log(config).append("t", here.messages(here.events(20), 1))
        run_learners(config, threading.Event())
    """
    path = os.pathsep.join(part for part in sys.path if part)

    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )

    assert done.returncode == STUCK_EXIT_CODE, done.stderr.decode()
    assert "a part is stuck: ending the process" in done.stdout.decode() + done.stderr.decode()


def test_a_setting_changed_for_one_of_two_models_blocks_that_model_and_is_named(tmp_path: Path) -> None:
    before, after = (
        configuration(
            tmp_path,
            a='learner = "ridge"\nparams.gamma = 1.0',
            b=f'learner = "ridge"\non_change = "refuse"\nparams.gamma = {gamma}',
        )
        for gamma in (1.0, 0.5)
    )
    log = InMemoryLog()
    log.append("t", messages(events(20), 1))
    with learning(before, log):
        until("both to learn", lambda: saved(before, "a") == saved(before, "b") == 20)

    log.append("t", messages(events(20, 20), 1))
    with learning(after, log) as (running, registry):
        until("the other to learn on", lambda: saved(after, "a") == 40)
        b = until("it to be told", lambda: learner(registry, "b") if learner(registry, "b").reason else None)
        assert running.refused is None

    assert saved(after, "b") == 20
    assert (b.state, b.restarts) == ("failed", 0)
    assert "was made under other settings (params.gamma: was 1.0, is 0.5)" in b.reason
    assert "put the old settings back" in b.reason


def test_when_no_model_can_learn_under_its_settings_the_process_has_nothing_to_do(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(20), 1))
    before = configuration(tmp_path, a='learner = "ridge"\non_change = "refuse"\nparams.gamma = 1.0')
    with learning(before, log):
        until("it to learn", lambda: saved(before, "a") == 20)

    with learning(configuration(tmp_path, a='learner = "ridge"\non_change = "refuse"\nparams.gamma = 0.5'), log) as (
        running,
        _,
    ):
        running.wait(threading.Event())  # returns

        assert isinstance(running.refused, StateMismatch | ConfigurationError)


def test_every_part_that_runs_by_itself_is_registered_from_the_start(tmp_path: Path) -> None:
    config = configuration(tmp_path, a='learner = "ridge"\nlabels_topic = "labels"', b='learner = "ridge"')
    with learning(config, InMemoryLog()) as (_, registry):
        until("all to run", lambda: all(one.state == "running" for one in registry.report()))
        found = {(one.component, one.model) for one in registry.report()}

    both = ("learner", "saver", "publisher", "alarm_outbox")
    assert found == {
        *((part, model) for part in both for model in "ab"),
        ("joiner", "a"),
        ("join_store", "a"),
        ("metrics_file", ""),
        ("status_file", ""),
    }
    assert {one.state.value for one in registry.report() if one.component in ("learner", "joiner")} == {"stopped"}


class _AwayLog(InMemoryLog):
    """A log whose broker goes away for readers: they hear nothing."""

    away = False

    def reader(self, *arguments: Any) -> Any:
        reader = super().reader(*arguments)
        reader.reached = lambda: not self.away  # type: ignore[method-assign]
        return reader


def test_while_the_log_is_out_of_reach_learner_and_joiner_say_so(tmp_path: Path) -> None:
    config = configuration(tmp_path, a='learner = "ridge"\nlabels_topic = "labels"')
    log = _AwayLog()

    def states(registry: HealthRegistry) -> set[tuple[str, str]]:
        parts = [one for one in registry.report() if one.component in ("learner", "joiner")]
        return {(one.state.value, one.reason) for one in parts}

    with learning(config, log) as (_, registry):
        until("both to run", lambda: states(registry) == {("running", "")})
        log.away = True
        until("both to wait", lambda: states(registry) == {("waiting", "the log is out of reach")})
        log.away = False
        until("both to run again", lambda: states(registry) == {("running", "")})
