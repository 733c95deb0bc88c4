"""The world around the simulated service: producers, operators, faults, and restarts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from thalweg.models.contract.learner import Predictor
from thalweg.ops.simulate.checker import Checker
from thalweg.ops.simulate.disk import FaultyDisk
from thalweg.ops.simulate.faults import Faults
from thalweg.ops.simulate.learner import POISON
from thalweg.ops.simulate.outside import SimulatedCommands, SimulatedLog, SimulatedPending
from thalweg.ops.simulate.scheduler import Process, Scheduler
from thalweg.ops.simulate.service import LABELS, MODEL, TOPIC, Disks, LearnerProcess, Places, ServerProcess
from thalweg.stream.log.log import Message

KINDS = ("poison", "log", "store", "disk", "clock", "kill", "server", "power")
"""Kinds of faults: events that cannot be learned; the log or the store away; a full disk; the clock set; a process
killed; the power cut. Processes die at random points besides.
"""
_MEAN_SECONDS_BETWEEN_FAULTS = 2.0
_LEAST_SETTLING_SECONDS = 3.0  # by which every part has told that it is well again
_SETTLING_SECONDS = 120.0
"""Virtual time after the last fault by which everything must be learned."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of a simulation."""

    seed: int
    violations: tuple[str, ...]
    """What the checker found; empty: nothing."""
    trace_sha256: str
    """The same for the same seed and steps."""
    seconds: float
    """Virtual seconds simulated."""
    turns: int
    """Turns taken."""
    lines: tuple[str, ...]
    """The end of the trace."""
    events: int
    """Records produced."""
    learner_deaths: int
    """How often a learner process died."""


class World:
    """Runs one simulation.

    Args:
        seed: Determines everything.
        folder: An empty folder for the simulated disks.
        kinds: The kinds of faults that happen, of `KINDS`.
    """

    def __init__(self, seed: int, folder: Path, kinds: Sequence[str] = KINDS) -> None:
        self._seed = seed
        self._kinds = [kind for kind in kinds if kind != "poison"]
        self._poison = "poison" in kinds
        self._scheduler = scheduler = Scheduler(seed)
        self._random = scheduler.random
        self._faults = faults = Faults(scheduler)
        disks = Disks(folder / "state", folder / "live")
        for place in (disks.state, disks.live):
            place.mkdir()
        self._disk = FaultyDisk(disks.state, faults)
        self._places = Places(
            scheduler,
            faults,
            disks,
            SimulatedLog(scheduler, faults),
            SimulatedPending(scheduler, faults),
            SimulatedCommands(scheduler, faults),
        )
        self._checker = Checker(self._places)
        self._outside = Process("outside")
        self._numbers = 0
        self._sent: list[bytes] = []
        self._deaths = 0
        self._learner: LearnerProcess | None = None
        self._server: ServerProcess | None = None
        self._restart_at = 0.0

    def run(self, steps: int) -> Verdict:
        """Simulate this many turns with faults, then end them and wait until everything is learned."""
        scheduler = self._scheduler
        scheduler.spawn("supervisor", self._outside, self._supervise)
        scheduler.spawn("producer", self._outside, self._produce)
        scheduler.spawn("operator", self._outside, self._operate, 3.0)
        scheduler.spawn("faults", self._outside, self._fail, 2.0)
        scheduler.spawn("checker", self._outside, self._check, 0.25)
        with self._disk.in_force(), _Quiet():
            self._faults.arm()
            while scheduler.turns < steps and not self._checker.violations:
                scheduler.run(min(50, steps - scheduler.turns))
            self._heal()
            healed = scheduler.ticks()
            while not self._checker.violations and scheduler.ticks() < healed + _SETTLING_SECONDS:
                scheduler.run(50)
                if self._settled() and scheduler.ticks() > healed + _LEAST_SETTLING_SECONDS:
                    break
            if not self._checker.violations:
                self._checker.finish(self._learner)
            scheduler.close()
        return Verdict(
            seed=self._seed,
            violations=tuple(self._checker.violations),
            trace_sha256=scheduler.trace_sha256,
            seconds=scheduler.ticks(),
            turns=scheduler.turns,
            lines=tuple(scheduler.lines),
            events=self._numbers,
            learner_deaths=self._deaths,
        )

    def _settled(self) -> bool:
        learner = self._learner
        if learner is None or not learner.process.alive or self._server is None or not self._server.process.alive:
            return False
        processor = getattr(learner, "processor", None)
        return processor is not None and self._checker.settled(processor) and self._server.version == processor.version

    # -- tasks --------------------------------------------------------------------------------------------------------

    def _supervise(self) -> float:
        scheduler = self._scheduler
        if self._learner is None or not self._learner.process.alive:
            if self._learner is not None and self._restart_at == 0.0:
                self._deaths += 1
                self._restart_at = scheduler.ticks() + self._random.uniform(0.1, 1.0)
            elif scheduler.ticks() >= self._restart_at:
                self._restart_at = 0.0
                self._learner = LearnerProcess(self._places, self._checker.part_died)
                self._faults.victims = {self._learner.process}
                scheduler.note("learner starts")
                self._learner.start()
        if self._server is None or not self._server.process.alive:
            self._server = ServerProcess(self._places, self._serve)
            scheduler.note("server starts")
            self._server.start()
        return 0.1

    def _serve(self, version: int, predictor: Predictor) -> None:
        self._scheduler.note(f"serves version {version}")
        self._checker.served(version, predictor)

    def _produce(self) -> float | None:
        if self._faults.healed:
            return None
        if not self._faults.log_away:
            messages = [Message(self._message()) for _ in range(self._random.choice((1, 1, 2, 5, 20)))]
            self._places.log.records.append(TOPIC, messages)
        return self._random.expovariate(1.5)

    def _message(self) -> bytes:
        kind = self._random.random()
        if kind < 0.05 and self._sent:
            return self._sent[-1 - self._random.randrange(min(50, len(self._sent)))]
        self._numbers += 1
        if kind < 0.08:
            self._checker.invalid += 1
            return b'{"id": "broken-%d", "inputs": ' % self._numbers
        id, label = f"e{self._numbers}", self._random.choice("abc")
        x = [self._random.gauss("abc".index(label), 1.0), self._random.gauss(0.0, 1.0)]
        if kind < 0.09 and self._poison:
            x[0] = POISON
            self._checker.poisoned.add(id)
        event: dict[str, object] = {"id": id, "time": self._scheduler.clock(), "inputs": {"x": x}}
        if self._random.random() < 0.25:
            self._scheduler.spawn(
                "labeller", self._outside, lambda: self._label(id, label), self._random.expovariate(0.2)
            )
        else:
            event["label"] = label
            self._checker.labelled.add(id)
        value = json.dumps(event).encode()
        self._sent.append(value)
        return value

    def _label(self, id: str, label: str) -> float | None:
        if self._faults.log_away:
            return 0.5
        self._places.log.records.append(LABELS, [Message(json.dumps({"id": id, "label": label}).encode())])
        self._checker.labelled.add(id)
        return None

    def _operate(self) -> float | None:
        if self._faults.healed:
            return None
        if not self._faults.store_away:
            commands, kept = self._places.commands, self._checker.snapshots()
            if self._random.random() < 0.5 or not kept:
                commands.submit(MODEL, "snapshot", {})
            else:
                to = self._random.choice(kept[-5:])
                self._scheduler.note(f"asks for a rollback to {to}")
                commands.submit(MODEL, "rollback", {"version": to})
        return self._random.expovariate(0.1)

    def _fail(self) -> float | None:
        if self._faults.healed:
            return None
        kind = self._random.choice(self._kinds)
        self._scheduler.note(f"fault: {kind}")
        faults, later = self._faults, self._random.uniform(0.3, 6.0)
        if kind == "log":
            faults.log_away = True
            self._end(later, lambda: setattr(faults, "log_away", False))
        elif kind == "store":
            faults.store_away = True
            self._end(later, lambda: setattr(faults, "store_away", False))
        elif kind == "disk":
            faults.fill_disk()
            self._end(later, faults.free_disk)
        elif kind == "clock":
            self._scheduler.offset = self._random.choice((-1800.0, -5.0, 0.0, 5.0, 1800.0))
        elif kind == "kill" and self._learner is not None and self._learner.process.alive:
            self._scheduler.kill(self._learner.process)
        elif kind == "server" and self._server is not None and self._server.process.alive:
            self._scheduler.kill(self._server.process)
        elif kind == "power":
            self._cut_power()
        return self._random.expovariate(1 / _MEAN_SECONDS_BETWEEN_FAULTS)

    def _end(self, seconds: float, end: Callable[[], None]) -> None:
        self._scheduler.spawn("faults end", self._outside, end, seconds)

    def _cut_power(self) -> None:
        for life in (self._learner, self._server):
            if life is not None and life.process.alive:
                self._scheduler.kill(life.process)
        self._disk.power_cut()
        live = self._places.disks.live
        shutil.rmtree(live)
        live.mkdir()
        self._checker.power_was_cut()

    def _heal(self) -> None:
        faults = self._faults
        faults.healed, faults.log_away, faults.store_away = True, False, False
        faults.free_disk()
        self._scheduler.note("all faults end")

    def _check(self) -> float:
        self._checker.look(self._learner)
        return 0.25


class _Quiet:
    """Within it, the simulated parts log nothing: their trace tells."""

    def __enter__(self) -> None:
        self._before = structlog.get_config()
        structlog.configure(processors=[_drop])

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)


def _drop(*_: object) -> str:
    raise structlog.DropEvent
