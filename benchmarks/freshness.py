"""What ridge gains from being solved often, from small micro-batches, and how much its random layer matters.

Digits that turn by 90 degrees in 20,000 events, at several widths and numbers of events between solves; then recorded
streams by several micro-batches, beside the controls at the same delay of labels; then other random layers.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from time import process_time  # noqa: E402 - the environment comes first
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.peers import CLASSES, turning_digits  # noqa: E402
from benchmarks.report import Result, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, TO_BEAT, load, no_streams, prequential  # noqa: E402
from thalweg.proto.event import ClassLabels  # noqa: E402

LAYERS: dict[str, dict[str, Any]] = {
    "default settings": {},
    "256 features, solved every 128 events": {"expansion": 256, "refresh_events": 128},
    "512 features, refresh_events = auto": {"expansion": 512},
    "512 features, solved every 128 events": {"expansion": 512, "refresh_events": 128},
}
"""Beside the first, with one decay and without direct inputs."""
BATCHES = (1, 16, 64)


def turning(rows: int) -> list[Result]:
    """Accuracy, and events in a second of CPU time, by 128."""
    x, y = turning_digits(rows)
    before = 100 * float((y[1:] == y[:-1]).mean())
    results = []
    for name, params in LAYERS.items():
        given = {"direct": False, "forgetting": 0.999, **params} if params else {}
        started = process_time()
        right = prequential(x, ClassLabels(y, CLASSES), given, 128)
        note = f"{rows / (process_time() - started):,.0f} events/s of CPU time; the label before {before:.1f} %"
        results.append(
            Result(name=f"digits that turn, by 128: {name}", value=100 * float(right.mean()), unit="%", note=note)
        )
    return results


def by_micro_batch(name: str, rows: int | None, sizes: tuple[int, ...]) -> list[Result]:
    """Accuracy by micro-batch, beside the label before the micro-batch."""
    features, labels = load(name, rows)
    results = []
    for size in sizes:
        known = np.maximum(np.arange(len(features)) // size * size - 1, 0)
        before = 100 * float((labels.codes[known] == labels.codes)[size:].mean())
        right = 100 * float(prequential(features, labels, {}, size).mean())
        results.append(Result(name=f"{name}, by {size}", value=right, unit="%", note=f"last label known {before:.1f}"))
    return results


def layers(name: str, rows: int | None, seeds: int) -> Result:
    """Accuracy by rows over several random layers."""
    features, labels = load(name, rows)
    found = [100 * float(prequential(features, labels, {}, 16, seed).mean()) for seed in range(seeds)]
    note = f"{seeds} seeds, {min(found):.1f} to {max(found):.1f}"
    return Result(name=f"{name}, by 16, other random layers", value=float(np.mean(found)), unit="%", note=note)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """`QUICK`: the first 6,000 rows of each stream."""
    results = turning(scale.of(20_000, quick=4_000, tiny=200))
    if not SHARED.is_dir():
        return [*results, no_streams("recorded streams by micro-batch")]
    rows = scale.of(None, quick=6_000, tiny=200)
    for name in ("electricity", "insects_gradual"):
        results += by_micro_batch(name, rows, BATCHES if scale is not Scale.QUICK else BATCHES[1:])
    return results + [layers(name, rows, scale.of(3, quick=2, tiny=1)) for name in TO_BEAT]


if __name__ == "__main__":
    show("Freshness", run(Scale.asked()))
