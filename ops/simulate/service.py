"""The simulated service: a learner process, with its joiner, and a server process, made of the real parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.contract.registry import find
from thalweg.ops.simulate.faults import Faults
from thalweg.ops.simulate.learner import Touchy
from thalweg.ops.simulate.outside import SimulatedCommands, SimulatedLog, SimulatedPending
from thalweg.ops.simulate.scheduler import Process, Scheduler
from thalweg.proto.schema import TensorSpec
from thalweg.stream.evaluation.baseline import BASELINE_FILE
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.labels.join_observer import NoJoinObserver
from thalweg.stream.labels.joining import Joiner, JoinSettings
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.quarantine.stop import FileStopMark
from thalweg.stream.runtime import BackgroundTask, Runtime

MODEL, TOPIC, LABELS, JOINED = "m", "t", "t.labels", "m.joined"
FEATURES = 2
SETTINGS = ProcessorSettings(
    model=MODEL,
    topic=TOPIC,
    joined_topic=JOINED,
    learner="nearest_mean",
    batch_events=8,
    snapshot_events=40,
    snapshot_seconds=5.0,
    idle_seconds=0.1,
)
_INPUTS = {"x": TensorSpec("x", "float32", (FEATURES,))}


@dataclass
class Disks:
    """Where the service keeps what it keeps."""

    state: Path
    """On the disk: snapshots, journal, positions."""
    live: Path
    """In memory: survives processes, not the power."""


@dataclass
class Places:
    """Everything outside the processes."""

    scheduler: Scheduler
    faults: Faults
    disks: Disks
    log: SimulatedLog
    pending: SimulatedPending
    commands: SimulatedCommands


def new_learner() -> Learner:
    """A small learner that raises on poison."""
    context = LearnerContext(inputs=_INPUTS, params={"covariance": "none", "max_classes": 10})
    return Touchy.around(find("nearest_mean")(context))


def build_predictor(state: State) -> Predictor:
    """The predictor of a published state."""
    return find("nearest_mean").predictor_from(state)


def snapshots_of(disks: Disks) -> FolderSnapshots:
    """The snapshots; all are kept, so that every version can be rebuilt from the beginning."""
    return FolderSnapshots(disks.state / MODEL, keep=100_000)


def journal_folder(disks: Disks) -> Path:
    """The folder of the journal."""
    return disks.state / MODEL / "journal"


class _Signal:
    """A signal whose wait takes virtual time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.wait(lambda: self._set, 1e9 if timeout is None else timeout)


class _Background:
    """Work beside its caller: done at some later time in one turn, or when it is joined."""

    def __init__(self, scheduler: Scheduler, process: Process, work: Callable[[], None], name: str) -> None:
        self._scheduler = scheduler
        self._process = process
        self._work: Callable[[], None] | None = work
        self._name = name

    def start(self) -> None:
        self._scheduler.spawn(self._name, self._process, self._do, self._scheduler.random.expovariate(10.0))

    def is_alive(self) -> bool:
        return self._work is not None

    def join(self) -> None:
        self._do()

    def _do(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()


@dataclass
class LearnerProcess:
    """One life of the learner process.

    Args:
        places: Everything outside it.
        died: Called with the error of a part that ended by an exception.
    """

    places: Places
    died: Callable[[str, Exception], None]
    process: Process = field(default_factory=lambda: Process("learner"))
    health: HealthRegistry = field(init=False)
    processor: Processor = field(init=False)

    def start(self) -> None:
        """Start its parts."""
        scheduler = self.places.scheduler
        self.health = HealthRegistry(scheduler.clock, scheduler.ticks)
        scheduler.spawn("learner", self.process, self._part(self._processor))
        scheduler.spawn("joiner", self.process, self._part(self._joiner))

    def _part(self, start: Callable[[], Callable[[], bool]]) -> Callable[[], float | None]:
        """Turns of a part: the first starts it."""
        running: list[Callable[[], bool]] = []

        def turn() -> float | None:
            scheduler = self.places.scheduler
            try:
                if not running:
                    running.append(start())
                else:
                    running[0]()
            except Exception as error:
                self.died(scheduler.running.name if scheduler.running else "", error)
                running.clear()
                return 0.5
            return scheduler.random.choice((0.002, 0.02))

        return turn

    def _runtime(self) -> Runtime:
        scheduler = self.places.scheduler
        return Runtime(
            clock=scheduler.clock,
            ticks=scheduler.ticks,
            signal=lambda: _Signal(scheduler),
            background=self._background,
        )

    def _background(self, work: Callable[[], None], name: str) -> BackgroundTask:
        return _Background(self.places.scheduler, self.process, work, name)

    def _flush_beside(self, flush: Callable[[], None]) -> None:
        scheduler = self.places.scheduler
        scheduler.spawn("flush", self.process, flush, scheduler.random.choice((0.0, 0.001, 0.01)))

    def _processor(self) -> Callable[[], bool]:
        places, disks, clock = self.places, self.places.disks, self.places.scheduler.clock
        snapshots = snapshots_of(disks)
        snapshots.prepare()
        learner = new_learner()
        self.processor = Processor(
            learner,
            places.log,
            snapshots,
            SETTINGS,
            journal=FileJournal(journal_folder(disks), clock=places.scheduler.ticks, beside=self._flush_beside),
            evaluator=Monitor(
                learner,
                new_learner,
                window_events=50,
                frozen_after=100,
                baseline_path=disks.state / MODEL / BASELINE_FILE,
                continual_events=2,
            ),
            make=new_learner,
            ports=Ports(
                publisher=FilePublisher(disks.live / MODEL, clock),
                commands=places.commands,
                dead_letters=DeadLetters(places.log, TOPIC, MODEL),
                health=self.health.register("learner", MODEL),
                stop_mark=FileStopMark(disks.state / MODEL / "stopped.json"),
            ),
            runtime=self._runtime(),
        )
        return self.processor.following().__enter__()

    def _joiner(self) -> Callable[[], bool]:
        places = self.places
        snapshots_of(places.disks).prepare()
        joiner = Joiner(
            JoinSettings(model=MODEL, topic=TOPIC, labels_topic=LABELS, joined_topic=JOINED),
            places.log,
            places.pending,
            new_learner().schema,
            places.disks.state / MODEL / "joined.json",
            DeadLetters(places.log, LABELS, MODEL),
            NoJoinObserver(),
            self._runtime(),
        )
        return joiner.following().__enter__()


class ServerProcess:
    """One life of the server process: follows the published versions and answers requests.

    Args:
        places: Everything outside it.
        served: Called with each new version and its predictor.
    """

    def __init__(self, places: Places, served: Callable[[int, Predictor], None]) -> None:
        self.process = Process("server")
        self._scheduler = places.scheduler
        self._served = served
        self._subscriber = FileSubscriber(places.disks.live / MODEL, build_predictor)
        self.version = -1
        """The version in use."""

    def start(self) -> None:
        """Start to follow."""
        self._scheduler.spawn("server", self.process, self._turn)

    def _turn(self) -> float:
        if self._subscriber.look() and self._subscriber.current is not None:
            current = self._subscriber.current
            self.version = current.info.version
            self._served(self.version, current.predictor)
        if self._subscriber.current is not None:
            self._subscriber.current.predictor.predict({"x": np.zeros((1, FEATURES), np.float32)})
        return self._scheduler.random.uniform(0.1, 0.25)
