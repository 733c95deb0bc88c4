"""Test-time adaptation as a newcomer tries it: digits, small networks of one's own, shifts that stay, default settings.

Accuracy over the latest thousand of so many answers: of the source, of the statistics alone (`learning_rate` 0), and of
the default. The last may be below either of the others by noise, not by more. Then shifts that come in runs of a class.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
from collections.abc import Callable, Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from benchmarks.report import Result, at_least, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.cotta.learner import Cotta  # noqa: E402
from thalweg.models.parts.torch_setup import functional, torch  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

Floats = NDArray[np.float32]
SEEN, BLOCK, LATEST, NOISE = 900, 10, 1000, 0.02
PICTURE, VECTOR = (1, 8, 8), (64,)


def pictures() -> torch.nn.Module:
    """Convolutions with batch norms."""
    nn = torch.nn
    first = (nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    second = (nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(256, 10))


def vectors() -> torch.nn.Module:
    """Linear layers around a batch norm."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


def layered() -> torch.nn.Module:
    """Linear layers around a layer norm."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))


def plain() -> torch.nn.Module:
    """Linear layers without a norm."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


NETWORKS: Mapping[str, tuple[int, ...]] = {"vectors": VECTOR, "pictures": PICTURE, "layered": VECTOR, "plain": VECTOR}
SHIFTS: Mapping[str, Callable[[Floats, np.random.Generator], NDArray[Any]]] = {
    "clean": lambda x, _: x,
    "fog": lambda x, _: 0.6 * x + 0.4,
    "strong fog": lambda x, _: 0.2 * x + 0.8,
    "less contrast": lambda x, _: 0.3 * x + 0.35,
    "little light": lambda x, _: 0.4 * x,
    "noise": lambda x, random: np.clip(x + random.normal(0, 0.3, x.shape), 0, 1),
    "uneven light": lambda x, _: x * np.random.default_rng(5).uniform(0.3, 1, 64),
}


FROZEN: Mapping[str, Any] = {"variant": "bn", "statistics_rows": 0, "own": 0.0}


def trained(name: str, folder: Path, x: Floats, y: NDArray[np.int64], passes: int) -> Path:
    """Its weights, after so many passes over digits (N, 64)."""
    torch.manual_seed(0)
    model = globals()[name]().train()
    optimizer, shown, wanted = torch.optim.Adam(model.parameters(), 5e-3), torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(passes):
        for rows in torch.randperm(len(x)).view(-1, 50):
            loss = functional.cross_entropy(model(shown[rows].view(-1, *NETWORKS[name])), wanted[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    path = folder / f"{name}.safetensors"
    save_file(model.state_dict(), path)
    return path


def right(name: str, weights: Path, x: Floats, y: NDArray[np.int64], latest: int = LATEST, **params: Any) -> float:
    """Accuracy in % over the latest answers, each given before its input is learned."""
    settings = {"model": f"benchmarks.cotta_newcomer:{name}", "weights": str(weights), **params}
    shape, found = NETWORKS[name], []
    learner = Cotta(LearnerContext(inputs={"x": TensorSpec("x", "float32", shape)}, params=settings, seed=0))
    for start in range(0, len(x), BLOCK):
        block = {"x": x[start : start + BLOCK].reshape(-1, *shape)}
        found.append(learner.predictor().predict(block)["label"] == y[start : start + BLOCK])
        count = len(block["x"])
        learner.learn(Batch(block, None, np.ones(count), np.zeros(count)))
    return 100 * float(np.concatenate(found)[-latest:].mean())


def in_runs(y: NDArray[np.int64], length: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """So many rows of labels (N,), in runs of one class, never two of the same in a row."""
    found: list[int] = []
    last = -1
    while len(found) < count:
        kind = int(random.choice([one for one in range(10) if one != last]))
        found += random.choice(np.flatnonzero(y == kind), length).tolist()
        last = kind
    return np.array(found[:count])


def shifted_runs(
    folder: Path, x: Floats, y: NDArray[np.int64], count: int, shifts: tuple[str, ...], lengths: tuple[int, ...]
) -> list[Result]:
    """So many clean, shuffled inputs, then twice as many under a shift in runs of a class; over the last 500."""
    random, results = np.random.default_rng(0), []
    for name in ("vectors", "pictures"):
        for shift in shifts:
            for length in lengths:
                rows = np.r_[random.integers(SEEN, len(x), count), SEEN + in_runs(y[SEEN:], length, 2 * count, random)]
                shown = np.clip(x[rows] + random.normal(0, 0.03, (len(rows), 64)), 0, 1)
                shown[count:] = SHIFTS[shift](shown[count:].astype(np.float32), random)
                stream, weights = (shown.astype(np.float32), y[rows]), folder / f"{name}.safetensors"
                source = right(name, weights, *stream, latest=500, **FROZEN)
                default = right(name, weights, *stream, latest=500)
                least = source - 100 * NOISE
                results.append(
                    at_least(f"{name}, {shift} in runs of {length}", default, "%", least, f"source {source:.1f}")
                )
    return results


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """By network and shift; the last row of each network is the longest."""
    data, random = load_digits(), np.random.default_rng(0)
    order, count = random.permutation(len(data.data)), scale.of(6000, quick=2000, tiny=100)
    x, y = (data.data[order] / 16.0).astype(np.float32), data.target[order].astype(np.int64)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            weights = trained(name, Path(folder), x[:SEEN], y[:SEEN], scale.of(15, quick=15, tiny=1))
            streams = [(shift, count) for shift in SHIFTS] + [("clean", scale.of(20_000, quick=4000, tiny=100))]
            for shift, length in streams if scale is not Scale.TINY else streams[:2]:
                rows = random.integers(SEEN, len(x), length)
                shown = np.clip(x[rows] + random.normal(0, 0.03, (length, 64)), 0, 1)
                stream = SHIFTS[shift](shown, random).astype(np.float32), y[rows]
                source = right(name, weights, *stream, **FROZEN)
                alone = right(name, weights, *stream, learning_rate=0.0)
                default = right(name, weights, *stream)
                note = f"source {source:.1f}, statistics alone {alone:.1f}"
                least = max(source, alone) - 100 * NOISE
                results.append(at_least(f"{name}, {shift}, {length:,}", default, "%", least, note))
        shifts, lengths = ("less contrast", "fog", "noise"), (15, 50, 200)
        if scale is Scale.TINY:
            shifts, lengths = shifts[:1], lengths[:1]
        results += shifted_runs(Path(folder), x, y, scale.of(1000, quick=1000, tiny=50), shifts, lengths)
    return results


if __name__ == "__main__":
    show("cotta_newcomer", run(Scale.asked()))
