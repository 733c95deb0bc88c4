"""Ridge beside River and Vowpal Wabbit: speed and prequential accuracy, each at its own best.

The peers live in an environment of their own (benchmarks/.venv-peers, made here) and run in a process of their own.
They learn row by row, as they are made to: River from dictionaries that exist, Vowpal Wabbit from its own text file,
which it reads itself. Ridge gets arrays in memory, in the micro-batches and with the settings that each line says, the
default ones first. Rates are events per second of processor time, of all threads. Accuracies are compared over the
same rows. Predicting is timed with learning.
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
from dataclasses import dataclass, replace  # noqa: E402
from itertools import zip_longest  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import median  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.ndimage import rotate  # noqa: E402

from benchmarks.report import Result, at_least, left_out, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, load, no_streams, prequential  # noqa: E402
from thalweg.proto.event import ClassLabels  # noqa: E402

HERE = Path(__file__).parent
VENV = HERE / ".venv-peers"
PEERS = ("river==0.26.1", "vowpalwabbit==9.11.9")
CLASSES = tuple(str(c) for c in range(10))


@dataclass(frozen=True)
class Run:
    """One learner over the first rows of a stream."""

    rate: float
    """Events per second of processor time."""
    rows: int
    accuracy: float
    """Prequential, in %, over `rows` rows."""


@dataclass(frozen=True)
class Mine:
    """Ridge with some settings, in micro-batches of 16, 32, … up to `by`."""

    params: dict[str, Any]
    by: int
    part: int = 1
    """It is given one in so many of the rows."""

    def __str__(self) -> str:
        said = ", ".join(f"{key} = {value}" for key, value in self.params.items()) or "default settings"
        return f"ridge, {said}, by {self.by:,}"


@dataclass(frozen=True)
class Peer:
    """One peer, the rows it is given, its options, and by what it is to be slower than each of ours (None: untold)."""

    name: str
    rows: int
    options: tuple[str, ...] = ()
    bars: tuple[float | None, ...] = ()

    @property
    def module(self) -> str:
        return "river" if self.name.startswith("river") else "vowpalwabbit"

    def __str__(self) -> str:
        return " ".join([self.name.replace("_", " "), *self.options])


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


def theirs(python: Path, data: Path, of: Peer, rows: int) -> Run:
    """A peer in its own process."""
    command = [python, HERE / "peers_side.py", data, of.name, str(rows), *of.options]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1])
    return Run(rows / found["cpu"], rows, 100 * found["right"] / rows)


def compared(
    title: str, x: NDArray[np.float32], labels: ClassLabels, mine: list[Mine], peers: list[Peer], scale: Scale
) -> list[Result]:
    """Rows of the table for one stream: each of ours, then against each peer, over the rows of both."""
    results, runs = [], []
    for one in mine:
        rows, times = max(len(x) // one.part, 1), []
        some = ClassLabels(labels.codes[:rows], labels.names)
        for _ in range(scale.of(3, quick=1, tiny=1) if one.by > 1 else 1):
            start = process_time()
            right = prequential(x[:rows], some, one.params, one.by)
            times.append(process_time() - start)
        runs.append((one, rows / median(times), right))
        note = f"{100 * right.mean():.1f} % right in {rows:,} rows"
        results.append(Result(name=f"{title}: {one}", value=runs[-1][1], unit="events/s", note=note))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "stream.npz"
        np.savez(data, x=x, y=labels.codes)
        for other in peers:
            python = python_with(other.module) if scale is Scale.TINY else peers_python()
            if python is None:
                why = f"no {other.module} in {VENV}; `python -m benchmarks peers` makes it"
                results.append(left_out(f"{title}: against {other}", why))
                continue
            done = theirs(python, data, other, min(other.rows, len(x)))
            note = f"{done.accuracy:.1f} % right in {done.rows:,} rows"
            results.append(Result(name=f"{title}: {other}", value=done.rate, unit="events/s", note=note))
            for (one, rate, right), bar in zip_longest(runs, other.bars):
                results.append(_ratio(one, rate, right[: done.rows], done, bar))
    return results


def _ratio(one: Mine, rate: float, right: NDArray[np.bool_], other: Run, bar: float | None) -> Result:
    name, note = f"… {one}, against it", f"{100 * right.mean():.1f} % right in the first {len(right):,} rows"
    if bar is None:
        return Result(name=name, value=rate / other.rate, unit="×", note=note)
    result = at_least(name, rate / other.rate, "×", bar, note)
    if 100 * right.mean() < other.accuracy:
        return replace(result, met=False, note=f"{note}: LOWER accuracy")
    return result


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
    """All streams; `QUICK` takes half of the rows; `TINY` installs nothing and leaves out peers that are not there."""
    part = scale.of(1, quick=2, tiny=200)
    x, y = drifting_classes(400_000 // part)
    plain: dict[str, Any] = {"expansion": 0, "forgetting": 0.9997}
    mine = [Mine({}, 64, 2), Mine({}, 256, 2), Mine(plain, 64), Mine(plain, 1024)]
    peers = [
        Peer("river", 20_000 // part, (), (None, None, None, 100.0)),
        Peer("vowpal_wabbit", 200_000 // part, (), (None, 1.0, None, 10.0)),
        Peer("vowpal_wabbit_loop", 50_000 // part),
    ]
    results = compared("drifting classes", x, ClassLabels(y, CLASSES), mine, peers, scale)
    x, y = turning_digits(20_000 // part)
    mine = [Mine({}, 64), Mine({"expansion": 256, "direct": False, "forgetting": 0.999}, 128)]
    peers = [
        Peer("river", 20_000 // part, ("scaled",), (None, 20.0)),
        Peer("vowpal_wabbit", 20_000 // part, (), (None, 1.0)),
    ]
    results += compared("turning digits", x, ClassLabels(y, CLASSES), mine, peers, scale)
    if not SHARED.is_dir():
        return [*results, no_streams("electricity")]
    features, labels = load("electricity", scale.of(None, quick=12_000, tiny=200))
    mine = [Mine({}, 1), Mine({"expansion": 0}, 1)]
    rates = [Peer("river_logistic", len(features), (rate,)) for rate in ("0.01", "0.05", "0.2", "0.5")]
    return results + compared("electricity", features, labels, mine, [*rates, Peer("vowpal_wabbit", 200_000)], scale)


if __name__ == "__main__":
    show("Ridge beside its peers", run(Scale.asked()))
