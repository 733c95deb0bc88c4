"""Memory of the learner's process while two million events pass through the embedded log."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from tests.ops.running import service
from tests.samples import events
from thalweg.ops.cli.produce import messages


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


def run(scale: Scale = Scale.FULL) -> list[Result]:
    total = scale.of(2_000_000, quick=400_000, tiny=500)
    step = scale.of(20_000, quick=20_000, tiny=50)
    with tempfile.TemporaryDirectory() as name, service(Path(name)) as running:
        text = running.path.read_text()
        running.path.write_text(
            text.replace("batch_events = 16", "batch_events = 256")
            .replace("snapshot_events = 60", "snapshot_events = 20000")
            .replace("snapshots_kept = 1000", "snapshots_kept = 5")
        )
        learner = running.start("learn")
        sizes: list[tuple[int, int]] = []
        for sent in range(step, total + 1, step):
            running.log.append(
                running.topic, messages(events(step, sent), min(step, 500))
            )  # every event with an id of its own
            while running.published(learner.pid) < sent:
                if learner.poll() is not None:
                    raise RuntimeError(running.text())
                time.sleep(0.01)
            sizes.append((sent, _resident_bytes(learner.pid)))
    warm = total // 5  # the window of known ids and the log's caches are full by then
    before = next(size for sent, size in sizes if sent >= warm)
    after = max(size for sent, size in sizes if sent > warm)
    note = f"{before / 1e6:.1f} MB after {warm:,} events, at most {after / 1e6:.1f} MB up to {total:,}"
    return [
        at_most("resident memory of the learner after warm-up, largest against first", after / before, "×", 1.05, note)
    ]


if __name__ == "__main__":
    show("memory", run(Scale.asked()))
