"""What a service takes while nothing happens: processor time and wake-ups of its processes, by number of models."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from tests.ops.running import Service, service, until
from thalweg.ops.telemetry.process_figures import process_figures

ROLES = ("learner", "server")
_MODEL = '\n[[model]]\nname = "m{number}"\ntopic = "m{number}.events"\nready_after_events = 0\n'


def _switches(pid: int) -> int:
    """How often the threads of a process have been given a core."""
    found = 0
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = path.read_text().splitlines()
        found += sum(int(line.rpartition("\t")[2]) for line in lines if "ctxt_switches" in line)
    return found


def _idle(models: int, quiet: float, seconds: float) -> dict[str, tuple[float, float]]:
    """By role: the share of a core, and switches per second."""
    with tempfile.TemporaryDirectory() as name, service(Path(name)) as running:
        one = running.path.read_text().partition("[[model]]")[2].partition("learner =")[2]
        more = [f"{_MODEL.format(number=number)}learner ={one}" for number in range(2, models + 1)]
        running.path.write_text(running.path.read_text() + "".join(more))
        running.start()
        until("readiness", running.ready)
        time.sleep(quiet)  # what waits for records looks less often the longer it is quiet
        pids = {role: _pid(running, role) for role in ROLES}
        began, before = time.monotonic(), {role: used(pid) for role, pid in pids.items()}
        time.sleep(seconds)
        took = time.monotonic() - began
        after = {role: used(pid) for role, pid in pids.items()}
        return {
            role: ((after[role][0] - before[role][0]) / took, (after[role][1] - before[role][1]) / took)
            for role in ROLES
        }


def _pid(running: Service, role: str) -> int:
    return int(until(f"a {role}", lambda: running.pid(role)))


def used(pid: int) -> tuple[float, int]:
    """Processor seconds of a process so far, and how often its threads were given a core."""
    figures = process_figures(pid)
    assert figures is not None
    return figures.cpu_seconds, _switches(pid)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    counts, quiet, seconds = scale.of(((1, 20, 100), 30, 20), quick=((1, 20, 100), 25, 10), tiny=((2,), 0, 1))
    results = []
    for count in counts:
        for role, (share, switches) in _idle(count, quiet, seconds).items():
            name, note = f"{role} of {count} idle models, of a core", f"{switches:,.0f} wake-ups/s; ridge, embedded log"
            if count == 100:
                results.append(at_most(name, 100 * share, "%", 2, note))
            else:
                results.append(Result(name=name, value=100 * share, unit="%", note=note))
    return results


if __name__ == "__main__":
    show("idle", run(Scale.asked()))
