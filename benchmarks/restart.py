"""From `kill -9` of a learner process to the first version of the next one, and to all events published again.

Each learner of the demo, with the demo's parameters and streams, alone in its process; killed in the middle of a
snapshot interval, so that half of one is learned again from the journal. Three ways: under a supervisor with and
without a standby, and as a process of its own, which whoever started it starts again (`--role learn`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import numpy as np

from benchmarks.report import Result, at_most
from benchmarks.scale import Scale
from tests.services.ports import free_port
from tests.services.processes import stop, until
from thalweg.models.contract.registry import find
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import load
from thalweg.ops.demo import camera, clicks, visits
from thalweg.ops.demo.run import configuration, digits
from thalweg.ops.telemetry.process_figures import process_figures
from thalweg.proto.event import Batch, ClassLabels, join
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.live_folder import live_folder

TARGET_SECONDS = 1.5
_UNLABELLED = 2000


WAYS = {
    "": ["--role", "learn"],
    " under a supervisor": [],
    " under a supervisor without standby": [],
}


def run(scale: Scale) -> list[Result]:
    """Each learner of the demo."""
    events, rounds = scale.of(7520, 2000, 80), scale.of(5, 3, 1)
    results = []
    for name in scale.of(list(_STREAMS), list(_STREAMS), ["digits"]):
        stream = _STREAMS[name](events)
        for way, arguments in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                environment = {"THALWEG_SERVICE__STANDBY": "false" if "without" in way else "true"}
                found = _measure(Path(folder), name, stream, rounds, arguments, environment)
            load = f"median of {rounds}, {events:,} events, load {os.getloadavg()[0]:.1f}"
            what = f"{name}: kill to published{way}"
            if way == " under a supervisor":
                results.append(at_most(what, found.first_seconds, "s", TARGET_SECONDS, load))
            else:
                results.append(Result(name=what, value=found.first_seconds, unit="s"))
            results.append(Result(name=f"{name}: … its processor time until then", value=found.cpu_seconds, unit="s"))
            results.append(Result(name=f"{name}: … to all events published again", value=found.all_seconds, unit="s"))
            results.append(Result(name=f"{name}: … memory of all processes", value=found.memory_mib, unit="MiB"))
    return results


@dataclass(frozen=True, slots=True)
class _Found:
    """Medians."""

    first_seconds: float
    """From the kill to the first version of the next process."""
    all_seconds: float
    """To a version of all events."""
    cpu_seconds: float
    """The next process's until its first version."""
    memory_mib: float
    """Proportional set size of all processes: what they share counts once."""


def _measure(
    folder: Path, name: str, events: Batch, rounds: int, arguments: list[str], environment: dict[str, str]
) -> _Found:
    config, learner, topic = _configured(folder, name)
    with closing(SqliteLog(folder / "log.db")) as log, (folder / "output").open("ab") as output:
        for part in events.micro_batches(20):
            log.append(topic, messages(part, 1))
        live = live_folder(folder / "state") / name
        command = [sys.executable, "-m", "thalweg.ops.cli", "serve", str(config), *arguments]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})

        process = start()
        published = FileSubscriber(live, find(learner).predictor_from)

        def shown() -> tuple[int, int]:
            """The process that published the newest version, and the events in it."""
            published.look()
            if published.current is None:
                return 0, 0
            return published.current.info.pid, published.current.info.learned_events

        wanted = 0 if events.labels is None else len(events)  # what has no label is not counted as learned
        until("all events to be learned", lambda: shown()[0] and shown()[1] == wanted)
        found = []
        for _ in range(rounds):
            memory = _memory_mib(process.pid)
            last, _ = shown()
            began = perf_counter()
            os.kill(last, signal.SIGKILL)
            if "--role" in arguments:
                process.wait()
                began = perf_counter()
                process = start()
            until("a version", lambda last=last: shown()[0] != last)
            first = perf_counter() - began
            pid, _ = shown()
            figures = process_figures(pid)
            until("all events", lambda pid=pid: shown() == (pid, wanted))
            found.append((first, perf_counter() - began, figures.cpu_seconds if figures else float("nan"), memory))
            sleep(1.0)  # a restart within another's would not be one
        stop(process)
        published.close()
    return _Found(*(median(column) for column in zip(*found, strict=True)))


def _memory_mib(pid: int) -> float:
    """Of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    smaps = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in (pid, *children)]
    return sum(int(found) for text in smaps for found in re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)) / 1024


def _configured(folder: Path, name: str) -> tuple[Path, str, str]:
    """The demo's configuration with this model alone; its learner and its topic."""
    np.save(folder / "unlabelled.npy", np.stack([pixels for pixels, *_ in digits(_UNLABELLED, seed=1)]))
    if name == "camera":
        camera.prepare(folder / "camera.safetensors")
    head, *models = re.split(r"(?=\[\[model\]\])", configuration(folder, free_port(), free_port()))
    (model,) = [one for one in models if f'name = "{name}"' in one]
    (folder / "token").write_text("no-secret-at-all\n")
    path = folder / "one.toml"
    path.write_text(head + model)
    found = load(path, {}).find(name)
    return path, found.learner, found.topic


def _digits(count: int) -> Batch:
    rows = list(digits(count))
    table: dict[str, int] = {}
    codes = np.array([table.setdefault(name, len(table)) for _, name, *_ in rows], np.int32)
    features = np.stack([pixels for pixels, *_ in rows])
    return Batch({"features": features}, ClassLabels(codes, tuple(table)), np.ones(count), np.ones(count))


def _images(count: int) -> Batch:
    images = np.stack([pixels for pixels, *_ in digits(count)]).reshape(-1, 1, 8, 8)
    return Batch({"image": images}, None, np.ones(count), np.ones(count))


_STREAMS: dict[str, Callable[[int], Batch]] = {
    "digits": _digits,
    "digits-bottleneck": _digits,
    clicks.NAME: lambda count: join([batch for batch, _ in clicks.clicks(count)]),
    visits.NAME: lambda count: join([batch for batch, *_ in visits.visits(count)]),
    "camera": _images,
}
