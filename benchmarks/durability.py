"""What it costs that each published version has its journal entry on disk.

The same stream with and without the flush of the journal before each publication, in turn, round by round: the
throughput of a backlog, and the time from the append of a single event to the version that contains it. Ridge, 64
float32 features, a log in memory, so that nothing else waits for the disk, which is that of temporary files.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.contract.registry import find
from thalweg.proto.schema import TensorSpec
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.publication.file_channel import FilePublisher


class _Unflushed(FileJournal):
    """Written, and left to the kernel."""

    def begin_sync(self) -> None: ...
    def sync(self) -> None: ...


class _Told(FilePublisher):
    """Tells when a version was published, and how many events it contains."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.told: Queue[tuple[int, float]] = Queue()

    def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
        super().publish(predictor, version=version, learned_events=learned_events, event_time=event_time)
        self.told.put((learned_events, time.perf_counter()))


def json_events(count: int) -> list[Message]:
    """Of 64 float32 and ten classes."""
    rows = np.random.default_rng(0).normal(0, 1, (count, 64)).astype(np.float32)
    return [
        Message(json.dumps({"inputs": {"features": row}, "label": str(i % 10)}).encode())
        for i, row in enumerate(rows.tolist())
    ]


def _measure(folder: Path, kind: type[FileJournal], messages: list[Message], singles: int) -> tuple[float, float]:
    """Seconds for the backlog, and the median delay of single events in milliseconds."""
    spec = {"features": TensorSpec("features", "float32", (64,))}
    learner = find("ridge")(LearnerContext(inputs=spec, params={"expansion": 0}, seed=0))
    log, publisher, journal = InMemoryLog(), _Told(folder / "live"), kind(folder / "journal")
    log.append("events", messages)
    processor = Processor(
        learner,
        log,
        FolderSnapshots(folder / "model"),
        ProcessorSettings(snapshot_events=10**9, snapshot_seconds=1e9),
        journal=journal,
        ports=Ports(publisher=publisher),
    )
    thread = threading.Thread(target=processor.run)
    started = time.perf_counter()
    thread.start()
    while publisher.told.get(timeout=120)[0] < len(messages):
        pass
    seconds = time.perf_counter() - started
    delays = []
    for number in range(1, singles + 1):
        time.sleep(0.03)  # the publication before may not delay it
        began = time.perf_counter()
        log.append("events", messages[:1])
        while (told := publisher.told.get(timeout=120))[0] < len(messages) + number:
            pass
        delays.append(told[1] - began)
    processor.stop()
    thread.join()
    publisher.close()
    return seconds, statistics.median(delays) * 1e3


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Measure."""
    messages = json_events(scale.of(100_000, 30_000, 300))
    rounds, singles = scale.of(9, 5, 1), scale.of(200, 100, 3)
    seconds: dict[type[FileJournal], list[float]] = {FileJournal: [], _Unflushed: []}
    delays: dict[type[FileJournal], list[float]] = {FileJournal: [], _Unflushed: []}
    with tempfile.TemporaryDirectory() as place, threadpool_limits(1):
        for number in range(rounds):
            for kind in (FileJournal, _Unflushed) if number % 2 else (_Unflushed, FileJournal):
                took, delay = _measure(Path(place) / f"{number}{kind.__name__}", kind, messages, singles)
                seconds[kind].append(took)
                delays[kind].append(delay)
    cost = statistics.median(a / b for a, b in zip(seconds[FileJournal], seconds[_Unflushed])) - 1
    later = statistics.median(a - b for a, b in zip(delays[FileJournal], delays[_Unflushed]))
    return [
        at_most("flush before publishing, cost in throughput", 100 * cost, "%", 3, "ridge, backlog, median of pairs"),
        at_most("flush before publishing, added to the delay", later, "ms", 1, "single events, median"),
        Result(name="append to published, single event", value=statistics.median(delays[FileJournal]), unit="ms"),
    ]


if __name__ == "__main__":
    show("Durability", run(Scale.asked()))
