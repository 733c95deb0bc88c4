"""The belt: known ways in which test-time adaptation collapses, with it and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.models.small_networks import digits
from thalweg.models.contract.gauges import samples
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.cotta.guard import Guard, Limits
from thalweg.models.cotta.learner import Cotta
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

pytestmark = pytest.mark.slow

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


def errors(
    path: Path, stream: Stream, labelled: float = 0.0, first: NDArray[np.float32] | None = None, **params: Any
) -> tuple[NDArray[np.float64], Cotta]:
    """Whether each answer was wrong, (N,), and the learner at the end; after learning the `first` inputs."""
    settings = {"model": "tests.models.small_networks:digits", "weights": str(path), "serve_views": 1, **params}
    learner = Cotta(LearnerContext(inputs=PICTURE, params={"views": "jitter", **settings}, seed=0))
    told = np.random.default_rng(2).random(len(stream[0])) < labelled
    wrong = []
    if first is not None:
        learner.learn(Batch({"image": first}, None, np.ones(len(first)), np.zeros(len(first))))
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
    """Causes of those there were."""
    return (cause for (cause,), count in samples(learner.gauges()["rollbacks"]).items() if count)


FROZEN: dict[str, Any] = {"variant": "bn", "statistics_rows": 0, "own": 0.0}


@pytest.fixture(scope="module")
def as_deployed(source: tuple[Path, Stream]) -> Callable[..., NDArray[np.float64]]:
    """Whether each answer of the source was wrong, for the arguments of `noisy`; some tests have the same."""

    @cache
    def made(count: int, noise: float, run: int = 0) -> NDArray[np.float64]:
        return errors(source[0], noisy(source[1], count, noise, run), **FROZEN)[0]

    return made


@pytest.mark.slow(5)
def test_too_high_a_rate_collapses_without_the_belt_and_stays_near_the_source_with_it(
    source: tuple[Path, Stream], as_deployed: Callable[..., NDArray[np.float64]]
) -> None:
    stream, deployed = noisy(source[1], 4000, 0.1), as_deployed(4000, 0.1)

    free, _ = errors(source[0], stream, belt=False, learning_rate=0.1)
    held, learner = errors(source[0], stream, learning_rate=0.1)

    assert worst(free, deployed) > 2.0
    assert worst(held, deployed) <= 2.0
    assert list(rollbacks(learner)) == ["update"]
    assert len(learner.state().tensors["offending"])


def test_labels_tell_when_nothing_else_does(
    source: tuple[Path, Stream], as_deployed: Callable[..., NDArray[np.float64]]
) -> None:
    stream, deployed = noisy(source[1], 4000, 0.1), as_deployed(4000, 0.1)
    blind = {"learning_rate": 0.1, "largest_update": 100.0, "least_agreement": 0.0, "least_entropy": 0.0}

    free, _ = errors(source[0], stream, **blind)
    held, learner = errors(source[0], stream, labelled=0.3, **blind)

    assert list(rollbacks(learner)) == ["canary"]
    assert worst(held, deployed) < 0.5 * worst(free, deployed)


@pytest.mark.parametrize(
    ("count", "run", "params"),
    [
        pytest.param(8000, 0, {}, id="long"),
        pytest.param(4000, 200, {}, id="one class at a time"),
        pytest.param(4000, 200, {"variant": "tent", "learning_rate": 0.01}, id="one class at a time, by entropy"),
        pytest.param(1500, 0, {"variant": "tent", "adapt_batch": 1, "follow_batch": 1}, id="single inputs"),
    ],
)
def test_what_is_known_to_collapse_does_no_harm(
    source: tuple[Path, Stream],
    as_deployed: Callable[..., NDArray[np.float64]],
    count: int,
    run: int,
    params: dict[str, Any],
) -> None:
    held, _ = errors(source[0], noisy(source[1], count, 0.1, run), **params)

    assert worst(held, as_deployed(count, 0.1, run)) <= 2.0


@pytest.mark.parametrize("what", ["black", "equal"])
def test_after_ten_thousand_inputs_that_say_nothing_ordinary_ones_are_answered_as_by_the_source(
    source: tuple[Path, Stream], as_deployed: Callable[..., NDArray[np.float64]], what: str
) -> None:
    stream = noisy(source[1], 1500, 0.1)
    one = np.zeros((1, 1, 8, 8), dtype=np.float32) if what == "black" else stream[0][:1]

    held, _ = errors(source[0], stream, first=np.repeat(one, 10_000, axis=0))

    assert worst(held, as_deployed(1500, 0.1), 500) <= 2.0


def test_where_classes_come_one_after_another_the_error_is_half_that_of_the_source(
    source: tuple[Path, Stream], as_deployed: Callable[..., NDArray[np.float64]]
) -> None:
    stream = noisy(source[1], 3000, 0.25, run=200)

    held, learner = errors(source[0], stream)
    without, _ = errors(source[0], stream, class_prior=False)

    deployed = as_deployed(3000, 0.25, 200)
    assert held.mean() < 0.5 * deployed.mean()
    assert held.mean() < without.mean()
    assert learner.gauges()["correlated_traffic"] == 1.0


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

    assert list(rollbacks(learner)) == ["update"]
    more = Batch({"image": stream[0][:600]}, None, np.ones(600), np.zeros(600))
    for one in (learner, again):
        one.learn(more)
    assert learner.state().sha256() == again.state().sha256()


def test_when_steps_begin_again_a_restored_learner_answers_alike(source: tuple[Path, Stream]) -> None:
    stream = noisy(source[1], 900, 0.1)
    settings = {"learning_rate": 0.2, "statistics_rows": 0, "backoff_steps": 2}
    _, learner = errors(source[0], stream, **settings)
    _, again = errors(source[0], (stream[0][:10], stream[1][:10]), **settings)
    asked = {"image": stream[0][:20]}
    for start in range(0, 600, 10):
        learner.learn(Batch({"image": stream[0][start : start + 10]}, None, np.ones(10), np.zeros(10)))
        again.restore(learner.state())

        wanted = learner.predictor().predict(asked)["scores"]
        np.testing.assert_array_equal(again.predictor().predict(asked)["scores"], wanted)

    assert samples(learner.gauges()["rollbacks"])[("update",)] > 0


@pytest.mark.parametrize("rows", [0, 40])
def test_labels_are_compared_again_after_a_state_of_before_that_kept_two_columns(rows: int) -> None:
    limits = Limits(agreement=0.75, entropy=0.9, update=0.2, canary=0.02, backoff=16)
    before, guard = Guard(limits, 200, 3), Guard(limits, 200, 3)

    guard.restore({**before.tensors(), "canaries": np.ones((rows, 2))}, before.counts)
    right, wrong = np.ones(60, np.bool_), np.zeros(60, np.bool_)

    assert guard.canary(right, right, right) is None
    assert guard.canary(wrong, right, right) is not None
