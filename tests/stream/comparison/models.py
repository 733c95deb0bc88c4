"""Two models that follow one log, and a judge over both, in one thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.nearest_mean import NearestMean
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.schema import TensorSpec
from thalweg.stream.comparison.judge import Judge, JudgeSettings
from thalweg.stream.comparison.loss_log import FileLosses
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.promotions import Promotions
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message

SPECS = {"features": TensorSpec("features", "float32", (2,))}


def mean() -> Learner:
    """Cannot learn which two of four corners belong together: right in half of the events."""
    return NearestMean(LearnerContext(inputs=SPECS, params={}, seed=0))


def ridge() -> Learner:
    """Learns that in a few dozen events."""
    return Ridge(LearnerContext(inputs=SPECS, params={"expansion": 32}, seed=0))


def corners(count: int, seed: int = 0, first: int = 0, *, noise: float = 0.0) -> list[Message]:
    """Events of the exclusive or of two signs; of `noise`, a share of the labels is drawn."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    labels = np.where(rng.random(count) < noise, rng.integers(0, 2, count), points[:, 0] * points[:, 1] > 0)
    return [
        Message(json.dumps({"id": f"e{first + i}", "inputs": {"features": p}, "label": int(y)}).encode(), time=1.0 + i)
        for i, (p, y) in enumerate(zip(points.tolist(), labels.tolist()))
    ]


class World:
    """Models by name over one log; each has a folder, as in a service."""

    def __init__(self, folder: Path, models: dict[str, Callable[[], Learner]], log: InMemoryLog | None = None) -> None:
        self.folder, self.models = folder, models
        self.log = log or InMemoryLog()
        self.promotions = Promotions(folder / ".aliases" / "fraud.jsonl", clock=lambda: 1.0)
        self.judge = self.new_judge()

    def processor(self, name: str, **settings: Any) -> Processor:
        """A processor that goes on where the one before has stopped or died."""
        usual = {"model": name, "topic": "t", "batch_events": 8, "batch_seconds": 0, "idle_seconds": 0}
        folder = self.folder / name
        snapshots = FolderSnapshots(folder)
        snapshots.prepare()
        return Processor(
            self.models[name](),
            self.log,
            snapshots,
            ProcessorSettings(**{**usual, "snapshot_events": 300, "snapshot_seconds": 1e9, **settings}),
            journal=FileJournal(folder / "journal"),
            ports=Ports(losses=FileLosses(folder / "losses", segment_bytes=4096)),
        )

    def learn(self, *names: str, **settings: Any) -> None:
        """Let these models, or all, learn to the end of the log."""
        for name in names or self.models:
            self.processor(name, **settings).run(until_end=True)

    def new_judge(self, **settings: Any) -> Judge:
        """A judge that goes on where the one before has saved or died."""
        names: Sequence[str] = list(self.models)
        given = {
            "alias": "fraud",
            "champion": names[0],
            "members": names,
            "alpha": 0.05,
            "losses": {name: self.folder / name / "losses" for name in names},
            "comparison": self.folder / ".aliases" / "fraud.comparison.json",
        }
        self.judge = Judge(JudgeSettings(**{**given, **settings}), self.promotions)
        return self.judge

    def compare(self) -> None:
        """Let the judge compare all there is."""
        while self.judge.turn():
            pass

    def champion(self) -> str:
        """Who answers."""
        return self.promotions.read()[-1].champion

    def decisions(self) -> list[tuple[str, int, float]]:
        """Each promotion by a test: its model, the event that decided it, and the evidence."""
        return [
            (one.champion, one.evidence["offset"], one.evidence["log_evidence"])
            for one in self.promotions.read()
            if one.evidence is not None
        ]
