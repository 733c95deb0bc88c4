"""Learner processes by the hundred: a queueing simulation fed by costs measured here, checked against real processors.

First `thalweg scale plan` measures two models of one process (ridge on columns, nearest mean on tensors). Then real
processors run: one, two in one process, and one in each of two processes, over backlogs and at a steady rate; the
simulation must find the same throughput and about the same lag. Then it goes where this machine cannot: to 1,000
partitions and 10 million events per second, with a learner killed on the way. What it leaves out: the brokers and the
network, merging, and that shared memory and caches make many processes on one host slower.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from benchmarks.scale_queueing import Change, Simulated, Times, evenly, simulate, unevenly
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import event_schema
from thalweg.ops.scale.made_up import made_up
from thalweg.ops.scale.measure import Costs, measure
from thalweg.ops.scale.plan import Pace, plan
from thalweg.ops.scale.processor_run import Ran, alone, folders, new_processor
from thalweg.proto.records import Partition
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message

MODELS = {
    "ridge": """
learner = "ridge"
fields = { label = "is_fraud", id = "payment_id" }
[model.columns]
amount = "numeric"
age = "numeric"
country = "categorical"
[model.scale]
answers = "key"
""",
    "nearest_mean": """
learner = "nearest_mean"
inputs.features = { shape = [64] }
[model.scale]
answers = "key"
""",
}
_TICK = 0.01
"""Seconds between two appends of a steady stream."""


def configuration(folder: Path, model: str) -> Config:
    path = folder / "thalweg.toml"
    path.write_text(
        f'[service]\nstate_dir = "{folder}/state"\n[log]\nurl = "sqlite:{folder}/log.db"\n'
        f'[[model]]\nname = "m"\ntopic = "m"\n{model}'
    )
    return load(path, {})


def times_of(costs: Costs, pace: Pace, rate: float) -> Times:
    """What the simulation takes of the measured costs, for shards of this rate.

    What is left of an event's time beside its parts belongs to the block. Saving is part of it on average, and also
    stands for itself: the simulation is rather too slow. Waiting for the disk holds nobody up, so only what a save
    computes counts.
    """
    interval = plan(replace(costs, scaled=False), rate, 1, pace).snapshot_interval_seconds
    return Times(
        event=costs.seconds_per_event - costs.other_seconds,
        block=costs.other_seconds * costs.block_events,
        snapshot=costs.snapshot_core_seconds,
        snapshot_interval=interval,
        block_events=round(costs.block_events),
    )


# -- real processors ---------------------------------------------------------------------------------------------------


def worker(model: str, shards: int, events: int, rate: float, seed: int) -> tuple[int, float, list[tuple[int, float]]]:
    """Run so many processors in this process, each over a log of its own.

    Args:
        model: Its configuration.
        shards: Processors, each in a thread.
        events: Records for each.
        rate: Records per second of each; 0: all are there at the beginning.
        seed: Of the records.

    Returns:
        Events learned; seconds that this process computed from the first read to the end; records of each block after
        the first second, and the lag of their middle one in seconds.
    """
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        config = configuration(Path(name), model)
        found: list[_Lags] = []
        arrived: list[np.ndarray] = []
        threads: list[threading.Thread] = []
        feeding: list[threading.Thread] = []
        lags: list[tuple[int, float]] = []
        for shard in range(shards):
            folder, live = stack.enter_context(folders(config))
            own = alone(config, config.model[0], folder, 256)
            if rate:
                own = own.model_copy(update={"model": [own.model[0].model_copy(update={"batch_events": "auto"})]})
            records = made_up(event_schema(config.model[0]), events, seed=seed + shard, now=time.time())
            ran, log = _Lags(), InMemoryLog()
            when = np.zeros(events) if not rate else np.arange(events) / rate
            log.append("m", [Message(record) for record in records[: 0 if rate else events]])
            processor, publisher = new_processor(own, log, live, ran)
            stack.callback(publisher.close)
            if rate:
                ran.stop_at, ran.stop = events, processor.stop
                feeding.append(threading.Thread(target=_feed, args=(log, records, rate, ran)))
            threads.append(threading.Thread(target=processor.run, kwargs={"until_end": not rate}))
            found.append(ran)
            arrived.append(when)
        began = time.process_time()
        for thread in (*threads, *feeding):
            thread.start()
        for thread in (*threads, *feeding):
            thread.join()
        took = time.process_time() - began
        for ran, when in zip(found, arrived):
            lags += ran.lags(when, rate)
        return sum(ran.events for ran in found), took, lags


class _Lags(Ran):
    """Also notes when each block was learned, and ends after so many events."""

    def __init__(self) -> None:
        super().__init__(math.inf)
        self.stop_at, self.fed_at = 0, 0.0
        self.done: list[tuple[float, int]] = []

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        super().block_done(outcome, learner, lag)
        self.done.append((time.perf_counter(), self.events))
        if self.stop_at and self.events >= self.stop_at:
            self.stop()

    def lags(self, when: np.ndarray, rate: float) -> list[tuple[int, float]]:
        """Records of each block and the lag of the middle one, after the first second of a steady stream."""
        if not rate:
            return []
        found, before = [], 0
        for at, events in self.done:
            middle = self.fed_at + when[min(len(when) - 1, (before + events) // 2)]
            if middle > self.fed_at + 1.0 and events > before:
                found.append((events - before, at - middle))
            before = events
        return found


def _feed(log: InMemoryLog, records: Sequence[bytes], rate: float, ran: _Lags) -> None:
    """Append at a steady rate."""
    ran.fed_at = began = time.perf_counter()
    sent = 0
    while sent < len(records):
        due = min(len(records), int((time.perf_counter() - began) * rate) + 1)
        log.append("m", [Message(record) for record in records[sent:due]])
        sent = due
        time.sleep(_TICK)


def median_lag(lags: Sequence[tuple[int, float]]) -> float:
    """Of records, given those of blocks."""
    if not lags:
        return float("nan")
    counts, seconds = np.array(lags).T
    order = np.argsort(seconds)
    return float(seconds[order][np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2)])


def real(model: str, processes: int, shards: int, events: int, rate: float = 0.0) -> tuple[float, float]:
    """Events per second of cores that compute, all processes together, and the median lag in seconds."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(worker, model, shards, events, rate, 10 * number) for number in range(processes)]
        done = [future.result() for future in futures]
    return sum(count / took for count, took, _ in done), median_lag([lag for *_, lags in done for lag in lags])


# -- the comparison, and beyond ----------------------------------------------------------------------------------------


def checked(name: str, model: str, costs: Costs, pace: Pace, events: int, scale: Scale) -> list[Result]:
    """The simulation against real processors."""
    results = []
    capacity = 1 / costs.seconds_per_event
    times = times_of(costs, pace, capacity)
    for what, processes, shards in (
        ("1 processor", 1, 1),
        ("2 processors in one process", 1, 2),
        ("2 processes", 2, 1),
    ):
        found, _ = real(model, processes, shards, events)
        simulated = simulate(times, evenly(3 * processes * capacity, processes * shards), processes, 5.0)
        expected = simulated.rate(1.0)
        off = abs(expected / found - 1)
        results.append(
            at_most(
                f"{name}: throughput of {what}, deviation",
                100 * off,
                "%",
                25,
                f"real {found:,.0f}/s of a core's time, simulated {expected:,.0f}/s",
            )
        )
    rate = scale.of(0.3, quick=0.3, tiny=0.1) * capacity
    seconds = scale.of(8, quick=4, tiny=2)
    _, lag = real(model, 1, 1, int(rate * seconds), rate)
    expected = simulate(times_of(costs, pace, rate), [rate], 1, float(seconds)).lag(0.5, 1.0)
    note = f"real {1000 * lag:.0f} ms at {rate:,.0f}/s, by the clock and as busy as it is here, "
    note += f"simulated {1000 * expected:.0f} ms"
    off_by = 1000 * (lag - expected)
    return [*results, Result(name=f"{name}: median lag, real less simulated", value=off_by, unit="ms", note=note)]


def carried(name: str, costs: Costs, pace: Pace, scale: Scale) -> list[Result]:
    """The simulation at sizes that this machine has not."""
    results = []
    seconds = scale.of(80.0, quick=60.0, tiny=3.0)
    killed_at = seconds / 4
    sizes = scale.of(
        [(1, 0.0, False), (8, 1e5, False), (64, 1e6, False), (256, 1e6, True), (1000, 1e7, False), (1000, 1e7, True)],
        quick=[(8, 1e5, False), (64, 1e6, False), (256, 1e6, True), (1000, 1e7, False)],
        tiny=[(8, 1e5, False)],
    )
    for partitions, asked, uneven in sizes:
        rate = asked or 0.5 / costs.seconds_per_event
        made = plan(costs, rate, partitions, pace)
        times = replace(times_of(costs, pace, rate / partitions), session=10.0)
        changes = [Change(killed_at, made.workers - 1, killed=True), Change(killed_at + 10.0, made.workers)]
        rates = (unevenly if uneven else evenly)(rate, partitions)
        found = simulate(times, rates, made.workers, seconds, changes=changes if made.workers > 1 else ())
        keys = ", uneven keys" if uneven else ""
        results += _shown(
            f"{name}, {partitions:,} partitions, {rate:,.0f} events/s{keys}", found, made.workers, killed_at
        )
    return results


def _shown(what: str, found: Simulated, workers: int, killed_at: float) -> list[Result]:
    steady, peak = found.lag(0.99, 0.1 * killed_at, killed_at), found.lag(1.0, killed_at)
    recovered = found.recovered(killed_at, usual := max(1.0, 3 * steady))
    note = (
        f"{workers:,} workers, {found.busy / found.seconds / workers:.0%} busy, lag p50 "
        f"{1000 * found.lag(0.5, 0.1 * killed_at, killed_at):.0f} ms"
    )
    results = [
        Result(name=f"{what}: learned", value=found.rate(), unit="events/s", note=note),
        Result(name=f"{what}: lag p99", value=1000 * steady, unit="ms"),
    ]
    if workers > 1:
        back = f"no longer than {usual:.1f} s again after {recovered:.0f} s"
        results.append(Result(name=f"{what}: longest lag after a kill", value=peak, unit="s", note=back))
    return results


def run(scale: Scale = Scale.FULL) -> list[Result]:
    results: list[Result] = []
    pace = Pace()
    for name, model in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            config = configuration(Path(folder), model)
            costs = measure(config, config.model[0], scale.of(8.0, quick=4.0, tiny=0.3))
        parts = {
            "decode": costs.decode_seconds,
            "predict": costs.predict_seconds,
            "grade": costs.grade_seconds,
            "learn": costs.learn_seconds,
            "the rest": costs.other_seconds,
        }
        note = ", ".join(f"{what} {1e6 * took:.1f}" for what, took in parts.items())
        results.append(Result(name=f"{name}: an event", value=1e6 * costs.seconds_per_event, unit="µs", note=note))
        results += checked(name, model, costs, pace, scale.of(60_000, quick=30_000, tiny=1500), scale)
        results += carried(name, costs, pace, scale)
        if scale is Scale.TINY:
            break
    return results


if __name__ == "__main__":
    show("scale_simulation", run(Scale.asked()))
