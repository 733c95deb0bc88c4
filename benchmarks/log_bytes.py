"""What the embedded log writes for a JSON event, against the event itself.

Events of 64 float32 are appended in ones, tens and hundreds, each append acknowledged when it is on disk. Bytes are
those that the process hands to the kernel (`wchar` of /proc/self/io), until the log is closed and all is in the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.durability import json_events
from benchmarks.report import Result, at_most, left_out, show
from benchmarks.scale import Scale
from thalweg.stream.log.sqlite import SqliteLog

_TARGET = 2.0
_WRITTEN = Path("/proc/self/io")


def written() -> int:
    """Bytes that this process has written so far."""
    counts = dict(line.split(": ") for line in _WRITTEN.read_text().splitlines())
    return int(counts["wchar"])


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Measure."""
    if not _WRITTEN.exists():
        return [left_out("bytes written by the embedded log", "this system has no /proc/self/io")]
    messages = json_events(scale.of(6000, quick=3000, tiny=100))
    size = sum(len(message.value or b"") for message in messages)
    results = []
    for together in (1, 10, 100):
        with tempfile.TemporaryDirectory() as folder:
            log = SqliteLog(Path(folder) / "log.db")
            before = written()
            for start in range(0, len(messages), together):
                log.append("t", messages[start : start + together])
            log.close()
            times = (written() - before) / size
        name = f"embedded log, JSON events of {size // len(messages):,} bytes, by {together}: written, × the value"
        results.append(at_most(name, times, "×", _TARGET))
    return results


if __name__ == "__main__":
    show("Bytes of the embedded log", run(Scale.asked()))
