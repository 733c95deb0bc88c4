"""Test-time adaptation: a picture classifier under corruption, frozen beside adapting, and what adapting costs."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks import cotta_guards as guarded  # noqa: E402
from benchmarks.report import Result, at_most, median_seconds, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.small_cnn import as_input, classifier, error, grouped, pictures, trained  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.cotta.learner import Cotta  # noqa: E402
from thalweg.models.parts.torch_models import build  # noqa: E402
from thalweg.models.parts.torch_setup import functional, torch  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

WEIGHTS = Path(".cache") / "small_cnn.safetensors"
GROUPED = Path(".cache") / "small_cnn_grouped.safetensors"
PICTURE = {"image": TensorSpec("image", "float32", (1, 28, 28))}
SEQUENCES = {"fashion_mnist_c_dev": 1.1, "fashion_mnist_c_dev_gradual": 0.7}
"""Streams, and by how many points the error is to be below that of batch statistics."""
BATCH, ROUNDS = 50, 10


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

    def learner(self, **params: Any) -> Cotta:
        """With default settings, or others; a mirrored piece of clothing is the same piece."""
        source = {"model": f"benchmarks.small_cnn:{self.factory}", "weights": str(self.weights), "serve_views": 2}
        return Cotta(LearnerContext(inputs=PICTURE, params={**source, **params}, seed=0))


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


def quality(source: Source, rounds: int) -> list[Result]:
    """Against the source, batch statistics, and TENT; then so many rounds, if more than one."""
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
        results.append(Result(name=f"{name}, control: views only, rate 0", value=views, unit="%"))
        batched = in_batches(source, name)[0]
        results.append(at_most(f"{name}, cotta", batched, "%", statistics - gain))
        results.append(at_most("… served one at a time", one_by_one(source, name), "%", batched + 1))
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


def guards(source: Source) -> list[Result]:
    """The served error, and its excess over the source, where classes come in runs or inputs say nothing."""
    results, frozen = [], source.model()
    for name, (x, y) in guarded.streams(source.shown).items():
        with torch.no_grad():
            kept = np.concatenate(
                [frozen(torch.from_numpy(part)).numpy() for part in np.split(x, range(200, len(x), 200))]
            )
        theirs = guarded.wrong(kept, y)
        if not len(theirs):
            continue
        ours = guarded.wrong(np.concatenate(list(guarded.served(source.learner(), x))), y)
        note = f"error {100 * ours.mean():.1f} %, source {100 * theirs.mean():.1f} %"
        excess = guarded.worst(ours, theirs)
        results.append(at_most(f"{name}: excess over the source, worst 500", excess, "points", guarded.EXCESS, note))
        if name in guarded.CORRELATED:
            share = float(ours.mean() / max(theirs.mean(), 1e-9))
            results.append(at_most("… error as a share of the source's", share, "×", 0.5))
        if name == guarded.SHUFFLED:
            open_ = guarded.wrong(np.concatenate(list(guarded.served(source.learner(class_prior=False), x))), y)
            results.append(at_most("… against no class prior", float(ours.mean() / max(open_.mean(), 1e-9)), "×", 1.02))
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

    views = made.params.view_count
    count_plain, count_viewed = median_seconds(both, rounds), median_seconds(forward, rounds)
    plain = source.learner(threshold=1e-9, belt=False)
    lean = count_plain + 2 * count_viewed  # student both ways, anchor and teacher forward
    full = count_plain + (1 + views) * count_viewed
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
            "a step in the plain branch, against its passes",
            median_seconds(lambda: plain.adapt(x), rounds) / lean,
            "×",
            1.2,
        ),
        at_most(
            f"a step with {views} views, against its passes",
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
            return costs(source, 1) + quality(source, 2) + guards(source) + without_batch_norm(second)
    source, second = Source(trained(WEIGHTS)), Source(trained(GROUPED, grouped), factory="grouped")
    results = costs(source, scale.of(60, quick=20, tiny=1)) + quality(source, scale.of(ROUNDS, quick=1, tiny=2))
    return results + guards(source) + without_batch_norm(second)


if __name__ == "__main__":
    show("cotta", run(Scale.asked()))
