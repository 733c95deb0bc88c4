"""Ridge beside River and Vowpal Wabbit: speed at no lower prequential accuracy, on arrays in memory.

The peers live in an environment of their own (benchmarks/.venv-peers, made here) and run in a process of their own,
one after the other on an idle machine; each is fed its own form of the rows, converted before the clock starts. They
learn row by row, as they are made to. Accuracies are compared over the same rows. Predicting is timed with learning.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import json  # noqa: E402 - the environment comes first
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import venv  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import median  # noqa: E402
from time import perf_counter  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.ndimage import rotate  # noqa: E402

from benchmarks.report import Result, at_least, left_out, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import prequential  # noqa: E402
from thalweg.proto.event import ClassLabels  # noqa: E402

HERE = Path(__file__).parent
VENV = HERE / ".venv-peers"
MODULES = {"river": "river", "vowpal_wabbit": "vowpalwabbit"}
PEERS = ("river==0.26.1", "vowpalwabbit==9.11.9")
CLASSES = tuple(str(c) for c in range(10))


@dataclass(frozen=True)
class Run:
    """One learner over the first rows of a stream."""

    rate: float
    """Events per second."""
    rows: int
    accuracy: float
    """Prequential, in %, over `rows` rows."""


def peers_python() -> Path:
    """The interpreter of the peers' environment, made if it is not there."""
    python = VENV / "bin" / "python"
    if not python.exists():
        venv.create(VENV, with_pip=True)
    have = subprocess.run([python, "-c", "import river, vowpalwabbit"], capture_output=True, check=False)
    if have.returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS], check=True)
    return python


def python_with(module: str) -> Path | None:
    """An interpreter that has this peer already, the peers' or our own; nothing is installed. None: there is none."""
    for python in (VENV / "bin" / "python", Path(sys.executable)):
        asked = [python, "-c", f"import {module}"]
        if python.exists() and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return python
    return None


def peer(python: Path, data: Path, name: str, rows: int, *options: str) -> Run:
    """A peer in its own process."""
    command = [python, HERE / "peers_side.py", data, name, str(rows), *options]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1])
    return Run(rows / found["seconds"], rows, 100 * found["right"] / rows)


def ours(x: NDArray[np.float32], y: NDArray[np.int32], params: dict[str, Any], micro_batch: int) -> list[bool]:
    """Whether each row was predicted rightly."""
    return prequential(x, ClassLabels(y, CLASSES), params, micro_batch).tolist()


def compared(
    title: str,
    x: NDArray[np.float32],
    y: NDArray[np.int32],
    params: dict[str, Any],
    micro_batch: int,
    bars: dict[str, tuple[int, float, tuple[str, ...]]],
    scale: Scale,
) -> list[Result]:
    """Rows of the table for one stream: per peer, rows it is given, the ratio to reach, its options."""
    seconds = []
    for _ in range(scale.of(3, quick=3, tiny=1)):
        start = perf_counter()
        right = np.array(ours(x, y, params, micro_batch))
        seconds.append(perf_counter() - start)
    rate = len(x) / median(seconds)
    results = [
        Result(
            name=f"{title}: ridge",
            value=rate,
            unit="events/s",
            note=f"{100 * right.mean():.1f} % right; {params}, micro-batches of 16, 32, … {micro_batch}",
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "stream.npz"
        np.savez(data, x=x, y=y)
        for name, (rows, bar, options) in bars.items():
            python = python_with(MODULES[name]) if scale is Scale.TINY else peers_python()
            if python is None:
                results.append(
                    left_out(
                        f"{title}: ridge against {name}",
                        f"no {MODULES[name]} in {VENV}; `python -m benchmarks peers` makes it",
                    )
                )
                continue
            other = peer(python, data, name, min(rows, len(x)), *options)
            mine = 100 * right[: other.rows].mean()
            note = (
                f"{other.rate:,.0f} events/s, {other.accuracy:.1f} % right in {other.rows:,} rows; ridge {mine:.1f} %"
            )
            result = at_least(f"{title}: ridge against {name}", rate / other.rate, "×", bar, note)
            if mine < other.accuracy:
                result = Result(**{**result.__dict__, "met": False, "note": note + ": LOWER accuracy"})
            results.append(result)
    return results


def drifting_classes(rows: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """64 features, 10 classes whose means each turn in a plane of their own, once in 200,000 rows."""
    generator = np.random.default_rng(0)
    planes = np.linalg.qr(generator.standard_normal((64, 20)))[0].T
    y = generator.integers(0, 10, rows).astype(np.int32)
    angle = 2 * np.pi * np.arange(rows)[:, None] / 200_000
    means = 2.5 * (np.cos(angle) * planes[y] + np.sin(angle) * planes[10 + y])
    return (generator.standard_normal((rows, 64)) + means).astype(np.float32), y


def turning_digits(rows: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """scikit-learn's handwritten digits, drawn at random, turned further and further: by 90 degrees in 20,000."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    drawn = np.random.default_rng(0).integers(0, len(digits.images), rows)
    angles = np.arange(rows) * 90 / 20_000
    x = [rotate(digits.images[i], angle, reshape=False, order=1).ravel() for i, angle in zip(drawn, angles)]
    return np.array(x, dtype=np.float32), digits.target[drawn].astype(np.int32)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Both streams; `QUICK` takes half of the rows; `TINY` installs nothing and leaves out peers that are not there."""
    part = scale.of(1, quick=2, tiny=200)
    x, y = drifting_classes(400_000 // part)
    params: dict[str, Any] = {"expansion": 0, "forgetting": 0.9997}
    bars = {"river": (20_000 // part, 100.0, ()), "vowpal_wabbit": (200_000 // part, 10.0, ())}
    results = compared("drifting classes", x, y, params, 1024, bars, scale)
    x, y = turning_digits(20_000 // part)
    params = {"expansion": 256, "direct": False, "forgetting": 0.999}
    bars = {"river": (20_000 // part, 20.0, ("scaled",)), "vowpal_wabbit": (20_000 // part, 1.0, ())}
    return results + compared("turning digits", x, y, params, 128, bars, scale)


if __name__ == "__main__":
    show("Ridge beside its peers", run(Scale.asked()))
