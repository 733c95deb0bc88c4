"""From `kill -9` of a learner process to the first version of the next one, and to all events published again.

Each learner of the demo, with the demo's parameters and streams, alone in its process; killed in the middle of a
snapshot interval, so that half of one is learned again from the journal.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter

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


def run(scale: Scale) -> list[Result]:
    """Each learner of the demo."""
    events, rounds = scale.of(7520, 2000, 80), scale.of(5, 3, 1)
    results = []
    for name in scale.of(list(_STREAMS), list(_STREAMS), ["digits"]):
        with tempfile.TemporaryDirectory() as folder:
            first, whole, cpu = _measure(Path(folder), name, _STREAMS[name](events), rounds)
        load = f"median of {rounds}, {events:,} events, load {os.getloadavg()[0]:.1f}"
        results.append(at_most(f"{name}: kill to published", first, "s", TARGET_SECONDS, load))
        results.append(Result(name=f"{name}: … its processor time until then", value=cpu, unit="s"))
        results.append(Result(name=f"{name}: … to all events published again", value=whole, unit="s"))
    return results


def _measure(folder: Path, name: str, events: Batch, rounds: int) -> tuple[float, float, float]:
    """Medians: seconds from the kill to the first version of the next process and to one of all events, and the
    processor time until the first."""
    config, learner, topic = _configured(folder, name)
    with closing(SqliteLog(folder / "log.db")) as log, (folder / "output").open("ab") as output:
        for part in events.micro_batches(20):
            log.append(topic, messages(part, 1))
        live = live_folder(folder / "state") / name
        command = [sys.executable, "-m", "thalweg.ops.cli", "serve", str(config), "--role", "learn"]
        process = subprocess.Popen(command, stdout=output, stderr=output)
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
            process.kill()
            process.wait()
            began = perf_counter()
            process = subprocess.Popen(command, stdout=output, stderr=output)
            pid = process.pid
            until("a version", lambda pid=pid: shown()[0] == pid)
            first = perf_counter() - began
            figures = process_figures(pid)
            until("all events", lambda pid=pid: shown() == (pid, wanted))
            found.append((first, perf_counter() - began, figures.cpu_seconds if figures else float("nan")))
        stop(process)
        published.close()
    first, whole, cpu = (median(column) for column in zip(*found, strict=True))
    return first, whole, cpu


def _configured(folder: Path, name: str) -> tuple[Path, str, str]:
    """The demo's configuration with this model alone; its learner and its topic."""
    np.save(folder / "unlabelled.npy", np.stack([pixels for pixels, *_ in digits(_UNLABELLED, seed=1)]))
    if name == "camera":
        camera.prepare(folder / "camera.safetensors")
    head, *models = re.split(r"(?=\[\[model\]\])", configuration(folder, free_port(), free_port()))
    (model,) = [one for one in models if f'name = "{name}"' in one]
    (folder / "token").write_text("no secret at all\n")
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
