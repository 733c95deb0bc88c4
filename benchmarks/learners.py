"""Many models in one learner process against two: events learned per second, and the processor time of an event.

Each model has a topic of its own in one embedded log, with records of 100 events, appended before the learners start.
The clock runs while the learned share of all events goes from a tenth to nine tenths, so that start and end of the
processes do not count. On a machine whose cores others use as well, processes do not get the cores that they could use:
so the processor time of an event is measured, too. With a core each, two learn 2 c₁ / c₂ times as fast as one.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.report import Result, at_least, show
from benchmarks.scale import Scale
from tests.ops.running import Service, service, until
from tests.samples import sample
from tests.services.processes import stop
from thalweg.ops.cli.produce import messages
from thalweg.ops.telemetry.process_figures import process_figures
from thalweg.stream.publication.announcement import ANNOUNCEMENT, newest_slot, open_announcement

_PER_RECORD = 100
_MODEL = '\n[[model]]\nname = "m{number}"\ntopic = "m{number}.events"\nready_after_events = 0\nlearner ={rest}'
ROLES = {1: ["learner"], 2: ["learner", "learner-2"]}


def _learned(live: Path, models: int) -> int:
    """Events in the versions that are published now, of all models."""
    found = 0
    for number in range(1, models + 1):
        try:
            announced = open_announcement(live / f"m{number}" / ANNOUNCEMENT)
        except FileNotFoundError:
            continue
        if announced is not None:
            with announced:
                slot = newest_slot(announced[:])
            found += 0 if slot is None else slot.info.learned_events
    return found


def _cpu(running: Service, learners: int) -> float:
    found = [process_figures(running.pid(role)) for role in ROLES[learners]]
    return sum(one.cpu_seconds for one in found if one is not None)


def _measure(learners: int, models: int, events: int) -> tuple[float, float]:
    """Events per second, and processor seconds per event."""
    with tempfile.TemporaryDirectory() as name, service(Path(name)) as running:
        head, _, table = running.path.read_text().partition("[[model]]")
        rest = table.partition("learner =")[2]
        tables = "".join(_MODEL.format(number=number, rest=rest) for number in range(1, models + 1))
        running.path.write_text(f"{head.replace('[service]', f'[service]{chr(10)}learners = {learners}')}{tables}")
        made = messages(sample("ridge").events(events, 0), _PER_RECORD)
        for number in range(1, models + 1):
            running.log.append(f"m{number}.events", made)
        live, all_ = Path(name) / "state" / "live", models * events
        process = running.start()
        until("the processes", lambda: all(running.pid(role) for role in ROLES[learners]))
        until("a tenth", lambda: _learned(live, models) >= all_ / 10)
        began, before, cpu = time.perf_counter(), _learned(live, models), _cpu(running, learners)
        until("nine tenths", lambda: _learned(live, models) >= 0.9 * all_)
        took, done, used = time.perf_counter() - began, _learned(live, models) - before, _cpu(running, learners) - cpu
        stop(process)
    if not done:  # so few that all were learned between two looks
        return _measure(learners, models, 2 * events)
    return done / took, max(used, 0.01) / max(done, 1)  # the system counts in hundredths


def run(scale: Scale = Scale.FULL) -> list[Result]:
    models, events, rounds = scale.of((20, 20_000, 5), quick=(10, 10_000, 3), tiny=(2, 400, 1))
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    busy: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for learners in rates:  # in turn, so that what else the machine does meets both
            rate, cost = _measure(learners, models, events)
            rates[learners].append(rate)
            costs[learners].append(cost)
            busy[learners].append(rate * cost)
    load = f"{models} models, median of {rounds}, load {os.getloadavg()[0]:.1f}"
    cores = ", ".join(f"{number}: {statistics.median(shares):.2f}" for number, shares in busy.items())
    pairs = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    spent = [2 * one / two for one, two in zip(costs[1], costs[2], strict=True)]
    return [
        *(
            Result(name=f"learners = {number}", value=statistics.median(found), unit="events/s", note=load)
            for number, found in rates.items()
        ),
        at_least("learners = 2 against 1, by the clock", statistics.median(pairs), "×", 1.7, f"cores used: {cores}"),
        at_least("learners = 2 against 1, with a core each", statistics.median(spent), "×", 1.7, "2 c₁ / c₂"),
    ]


if __name__ == "__main__":
    show("learners", run(Scale.asked()))
