"""The belt: known ways in which test-time adaptation collapses, with it and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.models.small_networks import digits
from thalweg.models.cotta import Cotta
from thalweg.proto.event import Batch, ClassLabels, TensorSpec

PICTURE = {"image": TensorSpec("image", "float32", (1, 8, 8))}
NAMES = tuple(str(k) for k in range(10))
Stream = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stream]:
    """Weights of a classifier of digits, and pictures it has not seen, in disorder."""
    load = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn: pip install 'thalweg[demo]'").load_digits
    data = load()
    x = (data.images[:, None] / 16.0).astype(np.float32)
    y = data.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    train, rest = order[:900], order[900:]
    model, generator = digits().train(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(15):
        for rows in torch.randperm(900, generator=generator).view(-1, 50):
            loss = torch.nn.functional.cross_entropy(
                model(torch.from_numpy(x[train][rows])), torch.from_numpy(y[train][rows])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    save_file(model.state_dict(), path)
    return path, (x[rest], y[rest])


def noisy(stream: Stream, count: int, noise: float = 0.05, run: int = 0) -> Stream:
    """So many pictures with noise; in disorder, or so many of a class at a time."""
    x, y = stream
    generator = np.random.default_rng(1)
    rows = generator.integers(0, len(x), count)
    if run:
        classes = [generator.choice(np.flatnonzero(y == part % 10), run) for part in range(count // run)]
        rows = np.concatenate(classes)
    shown = np.clip(x[rows] + generator.normal(0, noise, (len(rows), 1, 8, 8)), 0, 1)
    return shown.astype(np.float32), y[rows]


def errors(path: Path, stream: Stream, labelled: float = 0.0, **params: Any) -> tuple[NDArray[np.float64], Cotta]:
    """Whether each answer was wrong, (N,), and the learner at the end."""
    settings = {"model": "tests.models.small_networks:digits", "weights": str(path), "serve_views": 1, **params}
    learner = Cotta(inputs=PICTURE, params={"views": "jitter", **settings}, seed=0)
    told = np.random.default_rng(2).random(len(stream[0])) < labelled
    wrong = []
    for start in range(0, len(stream[0]), 10):
        x, y = (part[start : start + 10] for part in stream)
        answers = learner.predictor().predict({"image": x})["label"]
        wrong.append(answers != y)
        codes = np.where(told[start : start + 10], y, -1).astype(np.int32)
        learner.learn(Batch({"image": x}, ClassLabels(codes, NAMES), np.ones(len(x)), np.zeros(len(x))))
    return np.concatenate(wrong).astype(float), learner


def worst(wrong: NDArray[np.float64], deployed: NDArray[np.float64], window: int = 1000) -> float:
    """By how many points the error is above that of the source in any window."""
    excess = np.cumsum(np.concatenate([[0.0], wrong - deployed]))
    return float(100 * (excess[window:] - excess[:-window]).max() / window)


def rollbacks(learner: Cotta) -> Iterator[str]:
    return (name for name, count in learner.gauges().items() if name.startswith("rollbacks.") and count)


FROZEN: dict[str, Any] = {"variant": "bn", "statistics": 0.0, "own": 0.0}


@pytest.mark.parametrize(
    ("run", "labelled", "params"),
    [
        pytest.param(0, 0.0, {"learning_rate": 0.1}, id="too high a rate"),
        pytest.param(200, 0.2, {}, id="one class at a time, a fifth labelled"),
        pytest.param(200, 0.0, {"variant": "tent", "learning_rate": 0.01}, id="one class at a time, entropy"),
    ],
)
def test_what_collapses_without_the_belt_stays_near_the_source_with_it(
    source: tuple[Path, Stream], run: int, labelled: float, params: dict[str, Any]
) -> None:
    stream = noisy(source[1], 4000, 0.1, run)
    deployed, _ = errors(source[0], stream, **FROZEN)

    free, _ = errors(source[0], stream, belt=False, **params)
    held, learner = errors(source[0], stream, labelled, **params)

    assert worst(free, deployed) > 2.0
    assert worst(held, deployed) <= 2.0
    assert list(rollbacks(learner))
    assert len(learner.state().tensors["offending"])


@pytest.mark.parametrize(
    ("count", "params"),
    [
        pytest.param(8000, {}, id="long"),
        pytest.param(
            1500, {"variant": "tent", "learning_rate": 0.01, "adapt_batch": 1, "follow_batch": 1}, id="single"
        ),
    ],
)
def test_long_streams_and_single_inputs_do_no_harm(
    source: tuple[Path, Stream], count: int, params: dict[str, Any]
) -> None:
    stream = noisy(source[1], count, 0.1)
    deployed, _ = errors(source[0], stream, **FROZEN)

    held, _ = errors(source[0], stream, **params)

    assert worst(held, deployed) <= 2.0


def test_what_has_drifted_is_answered_better_than_by_the_source_and_nothing_is_rolled_back(
    source: tuple[Path, Stream],
) -> None:
    x, y = noisy(source[1], 3000, 0.15)
    stream = 0.4 + 0.4 * x, y  # at less contrast, brighter
    deployed, _ = errors(source[0], stream, **FROZEN)

    held, learner = errors(source[0], stream, labelled=0.2)

    assert held[500:].mean() < 0.5 * deployed[500:].mean()
    assert not list(rollbacks(learner))


def test_after_a_breach_steps_wait_and_a_restored_learner_waits_as_long(source: tuple[Path, Stream]) -> None:
    stream = noisy(source[1], 900, 0.1)
    _, learner = errors(source[0], stream, learning_rate=0.2)
    _, again = errors(source[0], (stream[0][:10], stream[1][:10]), learning_rate=0.2)

    again.restore(learner.state())

    assert list(rollbacks(learner)) == ["rollbacks.update"]
    more = Batch({"image": stream[0][:600]}, None, np.ones(600), np.zeros(600))
    for one in (learner, again):
        one.learn(more)
    assert learner.state().sha256() == again.state().sha256()
