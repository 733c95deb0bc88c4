"""Test-time adaptation: a picture classifier under corruption, frozen beside adapting, and what adapting costs."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
from collections.abc import Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks import cotta_guards as guarded  # noqa: E402
from benchmarks import cotta_lame, cotta_successors  # noqa: E402
from benchmarks.report import Result, at_most, median_seconds, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.small_cnn import GROUPED_PASSES, as_input, classifier, error, grouped, pictures, trained  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.cotta.learner import Cotta  # noqa: E402
from thalweg.models.networks.torch_models import build  # noqa: E402
from thalweg.models.parts.torch_setup import functional, torch  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

WEIGHTS = Path(".cache") / "small_cnn.safetensors"
GROUPED = Path(".cache") / "small_cnn_grouped.safetensors"
PICTURE = {"image": TensorSpec("image", "float32", (1, 28, 28))}
SEQUENCES = {"fashion_mnist_c_dev": 1.1, "fashion_mnist_c_dev_gradual": 0.7}
"""Streams, and by how many points the error is to be below that of batch statistics."""
BATCH, ROUNDS = 50, 10
VIEWS = 8
"""Of a piece of clothing, mirrored or moved by a pixel, that a prediction is averaged over; the default is 1."""


@dataclass(frozen=True)
class Source:
    """The classifier that adaptation starts from, and how many pictures of each set are shown (None: all)."""

    weights: Path
    shown: int | None = None
    factory: str = "classifier"

    def model(self) -> Any:
        """The classifier itself, frozen."""
        return build(f"benchmarks.small_cnn:{self.factory}", str(self.weights))

    def pictures(self, name: str) -> Any:
        return pictures(name, self.shown)

    def learner(self, seed: int = 0, **params: Any) -> Cotta:
        """With default settings, or others, but for `serve_views`: a mirrored piece of clothing is the same piece."""
        source = {"model": f"benchmarks.small_cnn:{self.factory}", "weights": str(self.weights), "serve_views": VIEWS}
        inputs = {**PICTURE, **({"caller": TensorSpec("caller", "int64", ())} if "caller" in params else {})}
        return Cotta(LearnerContext(inputs=inputs, params={**source, **params}, seed=seed))

    def logits(self, x: Any) -> Any:
        """Of the frozen classifier, (N, K)."""
        model = self.model()
        with torch.no_grad():
            return np.concatenate([model(torch.from_numpy(x[at : at + 200])).numpy() for at in range(0, len(x), 200)])


def in_batches(source: Source, name: str, rounds: int = 1, **params: Any) -> list[float]:
    """Error in % by round, each batch of 50 answered by its own statistics and then learned from."""
    data = source.pictures(name)
    x, y, made, found = as_input(data["x"]), data["y"], source.learner(**params), []
    for _ in range(rounds):
        wrong = []
        for start in range(0, len(x), BATCH):
            answer = made.adapt(torch.from_numpy(x[start : start + BATCH])).answer
            wrong.append(answer.argmax(1).numpy() != y[start : start + BATCH])
        found.append(100 * float(np.concatenate(wrong).mean()))
    return found


def one_by_one(source: Source, name: str, **params: Any) -> float:
    """Error in %, each picture answered as if alone."""
    data = source.pictures(name)
    scores = np.concatenate(list(guarded.served(source.learner(**params), as_input(data["x"]))))
    return 100 * float(guarded.wrong(scores, data["y"].astype(np.int64)).mean())


def spread(found: Sequence[float], digits: int = 1) -> str:
    """Of several seeds."""
    return f"{len(found)} seeds, {min(found):.{digits}f} to {max(found):.{digits}f}"


def quality(source: Source, rounds: int, seeds: int) -> list[Result]:
    """Against the source, batch statistics, TENT and later methods; then so many rounds, if more than one. Seeds are of
    views and restoration; the others draw nothing.
    """
    results = []
    frozen_model = source.model()
    clean = source.pictures("fashion_mnist")
    clean_error = 100 * error(frozen_model, as_input(clean["x_test"]), clean["y_test"])
    results.append(Result(name="clean test pictures, source", value=clean_error, unit="%"))
    for name, gain in SEQUENCES.items():
        data = source.pictures(name)
        frozen = 100 * error(frozen_model, as_input(data["x"]), data["y"])
        results.append(Result(name=f"{name}, source", value=frozen, unit="%"))
        statistics, tent, views = (
            in_batches(source, name, **params)[0]
            for params in ({"variant": "bn"}, {"variant": "tent"}, {"learning_rate": 0.0})
        )
        results.append(Result(name=f"{name}, batch statistics", value=statistics, unit="%"))
        results.append(Result(name=f"{name}, tent", value=tent, unit="%"))
        for method in cotta_successors.METHODS:
            x = as_input(clean["x_train"][:1000])
            theirs = cotta_successors.error(method, source.model(), x, as_input(data["x"]), data["y"])
            results.append(Result(name=f"{name}, {method}", value=theirs, unit="%"))
        results.append(Result(name=f"{name}, control: views only, rate 0", value=views, unit="%"))
        found = [in_batches(source, name, seed=seed)[0] for seed in range(seeds)]
        batched = float(np.mean(found))
        results.append(at_most(f"{name}, cotta", batched, "%", statistics - gain, spread(found)))
        plain = [one_by_one(source, name, seed=seed, serve_views=1) for seed in range(seeds)]
        note = spread(plain)
        results.append(
            Result(name="… served one at a time, default settings", value=np.mean(plain), unit="%", note=note)
        )
        found = [one_by_one(source, name, seed=seed) for seed in range(seeds)]
        name = f"… served one at a time, {VIEWS} views"
        results.append(at_most(name, float(np.mean(found)), "%", batched + 1, spread(found)))
    if rounds > 1:
        again = in_batches(source, "fashion_mnist_c_dev_gradual", rounds)
        tent = in_batches(source, "fashion_mnist_c_dev_gradual", rounds, variant="tent")
        note = " ".join(f"{one:.1f}" for one in again) + f"; tent {tent[0]:.1f} to {tent[-1]:.1f}"
        results.append(
            at_most(f"{rounds} rounds: the last against the first", again[-1] - again[0], "points", 0.3, note)
        )
    return results


def without_batch_norm(source: Source) -> list[Result]:
    """A network with group norm: there are no statistics to adapt, and views and steps do what is left."""
    results = []
    for name in SEQUENCES:
        data = source.pictures(name)
        frozen = 100 * error(source.model(), as_input(data["x"]), data["y"])
        results.append(Result(name=f"group norm: {name}, source", value=frozen, unit="%"))
        views = in_batches(source, name, learning_rate=0.0)[0]
        results.append(Result(name="… control: views only, rate 0", value=views, unit="%"))
        results.append(Result(name="… cotta", value=in_batches(source, name)[0], unit="%"))
        results.append(at_most("… served one at a time", one_by_one(source, name), "%", frozen))
    return results


def guards(source: Source, orders: int) -> list[Result]:
    """The served error, and its excess over the source, where classes come in runs or inputs say nothing."""
    wrong: dict[str, list[tuple[Any, Any]]] = {}
    without = []
    for order in range(orders):
        for name, (x, y) in guarded.streams(source.shown, order).items():
            theirs = guarded.wrong(source.logits(x), y)
            if not len(theirs):
                continue
            ours = guarded.wrong(np.concatenate(list(guarded.served(source.learner(), x))), y)
            wrong.setdefault(name, []).append((ours, theirs))
            if name == guarded.SHUFFLED:
                closed = guarded.served(source.learner(class_prior=False), x)
                without.append(float(ours.mean() / guarded.wrong(np.concatenate(list(closed)), y).mean()))
    results = []
    for name, pairs in wrong.items():
        ours, theirs = ([100 * float(each[side].mean()) for each in pairs] for side in (0, 1))
        excess = [guarded.worst(*pair) for pair in pairs]
        note = f"error {np.mean(ours):.1f} %, source {np.mean(theirs):.1f} %; {spread(excess)}"
        title = f"{name}: excess over the source, worst 500 of any order"
        results.append(at_most(title, max(excess), "points", guarded.EXCESS, note))
        if name in guarded.CORRELATED:
            shares = [mine / max(source_, 1e-9) for mine, source_ in zip(ours, theirs)]
            title = "… error as a share of the source's"
            results.append(at_most(title, float(np.mean(shares)), "×", 0.5, spread(shares, 2)))
        if name == guarded.SHUFFLED:
            results.append(at_most("… against no class prior", max(without), "×", 1.02, spread(without, 2)))
    return results


def costs(source: Source, rounds: int) -> list[Result]:
    """In passes of the bare model: forward and backward as the specification counts them."""
    made, bare = source.learner(), classifier()
    bare.train()
    shown = as_input(source.pictures("fashion_mnist_c_dev")["x"])
    x = torch.from_numpy(shown[:BATCH].copy())
    y = torch.zeros(BATCH, dtype=torch.long)

    def forward() -> None:
        with torch.no_grad():
            bare(x)

    def both() -> None:
        functional.cross_entropy(bare(x), y).backward()

    views, steps = made.params.view_count, made.params.steps
    count_plain, count_viewed = median_seconds(both, rounds), median_seconds(forward, rounds)
    plain = source.learner(threshold=1e-9, belt=False)
    lean = steps * (count_plain + 2 * count_viewed)  # student both ways, anchor and teacher forward
    full = steps * (count_plain + (1 + views) * count_viewed)
    one = shown[:1]
    predictor = made.predictor()
    padded = torch.from_numpy(np.repeat(one, 8, axis=0))
    answer = median_seconds(lambda: predictor.predict({"image": one}), rounds)
    frozen = source.model()

    def anchor_and_teacher() -> None:
        with torch.no_grad():
            frozen(padded)
            frozen(padded)

    served = median_seconds(anchor_and_teacher, rounds)
    whole, stream = source.learner(), iter(np.split(shown[: len(shown) // BATCH * BATCH], len(shown) // BATCH))

    def learned() -> None:
        whole.learn(Batch({"image": next(stream)}, None, np.ones(BATCH), np.zeros(BATCH)))

    return [
        at_most(
            f"{steps} steps in the plain branch, against their passes",
            median_seconds(lambda: plain.adapt(x), rounds) / lean,
            "×",
            1.2,
        ),
        at_most(
            f"{steps} steps with {views} views, against their passes",
            median_seconds(lambda: made.adapt(x), rounds) / full,
            "×",
            1.2,
        ),
        Result(name="… with statistics and guards", value=median_seconds(learned, rounds) / full, unit="×"),
        at_most("an answer, against anchor and teacher forward", answer / served, "×", 1.2, f"{1000 * answer:.2f} ms"),
    ]


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Costs and quality on the shared pictures; the classifier is trained first if it is not there."""
    if not SHARED.is_dir():
        return [no_streams("cotta")]
    if scale is Scale.TINY:
        with tempfile.TemporaryDirectory() as folder:
            source = Source(trained(Path(folder) / "small_cnn.safetensors", passes=1, count=128), shown=BATCH)
            other = trained(Path(folder) / "grouped.safetensors", grouped, passes=1, count=128)
            second = Source(other, shown=BATCH, factory="grouped")
            return costs(source, 1) + measured(source, second, 2, 1)
    source, second = Source(trained(WEIGHTS)), Source(trained(GROUPED, grouped, GROUPED_PASSES), factory="grouped")
    found = measured(source, second, scale.of(ROUNDS, quick=1, tiny=2), scale.of(3, quick=1, tiny=1))
    return costs(source, scale.of(60, quick=20, tiny=1)) + found


def measured(source: Source, second: Source, rounds: int, seeds: int) -> list[Result]:
    """What does not depend on the machine, but for the weights."""
    windows = cotta_lame.results(source.learner, source.logits, source.shown)
    return [*quality(source, rounds, seeds), *guards(source, seeds), *windows, *without_batch_norm(second)]


if __name__ == "__main__":
    show("cotta", run(Scale.asked()))
