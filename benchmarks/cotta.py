"""Test-time adaptation: a picture classifier under corruption, frozen beside adapting, and what adapting costs."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import sys  # noqa: E402 - the environment comes first
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.report import Result, at_most, median_seconds, show  # noqa: E402
from benchmarks.small_cnn import as_input, classifier, error, pictures, trained  # noqa: E402
from benchmarks.streams import SHARED  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.cotta.learner import Cotta  # noqa: E402
from thalweg.models.parts.torch_models import build  # noqa: E402
from thalweg.models.parts.torch_setup import functional, torch  # noqa: E402
from thalweg.proto.event import Batch, TensorSpec  # noqa: E402

WEIGHTS = Path(".cache") / "small_cnn.safetensors"
PICTURE = {"image": TensorSpec("image", "float32", (1, 28, 28))}
SEQUENCES = {"fashion_mnist_c_dev": 21.4, "fashion_mnist_c_dev_gradual": 19.0}
"""Streams, and the mean error in % aimed for."""
BATCH, ROUNDS = 50, 10


def learner(**params: Any) -> Cotta:
    """With default settings, or others; a mirrored piece of clothing is the same piece."""
    source = {"model": "benchmarks.small_cnn:classifier", "weights": str(WEIGHTS), "serve_views": 2}
    return Cotta(LearnerContext(inputs=PICTURE, params={**source, **params}, seed=0))


def in_batches(name: str, rounds: int = 1, **params: Any) -> list[float]:
    """Error in % by round, each batch of 50 answered by its own statistics and then learned from."""
    data = pictures(name)
    x, y, made, found = as_input(data["x"]), data["y"], learner(**params), []
    for _ in range(rounds):
        wrong = []
        for start in range(0, len(x), BATCH):
            answer = made.adapt(torch.from_numpy(x[start : start + BATCH])).answer
            wrong.append(answer.argmax(1).numpy() != y[start : start + BATCH])
        found.append(100 * float(np.concatenate(wrong).mean()))
    return found


def one_by_one(name: str, **params: Any) -> float:
    """Error in %, each picture answered alone as it comes."""
    data = pictures(name)
    x, y, made, wrong = as_input(data["x"]), data["y"], learner(**params), 0
    for row in range(len(x)):
        wrong += int(made.predictor().predict({"image": x[row : row + 1]})["label"][0] != y[row])
        made.learn(Batch({"image": x[row : row + 1]}, None, np.ones(1), np.zeros(1)))
    return 100 * wrong / len(x)


def quality(quick: bool) -> list[Result]:
    """Against the source, batch statistics, and TENT."""
    results = []
    source = build("benchmarks.small_cnn:classifier", str(WEIGHTS))
    clean = pictures("fashion_mnist")
    clean_error = 100 * error(source, as_input(clean["x_test"]), clean["y_test"])
    results.append(Result(name="clean test pictures, source", value=clean_error, unit="%"))
    for name, target in SEQUENCES.items():
        data = pictures(name)
        frozen = 100 * error(source, as_input(data["x"]), data["y"])
        results.append(Result(name=f"{name}, source", value=frozen, unit="%"))
        results += [
            Result(name=f"{name}, {variant}", value=in_batches(name, variant=variant)[0], unit="%")
            for variant in ("bn", "tent")
        ]
        batched = in_batches(name)[0]
        results.append(at_most(f"{name}, cotta", batched, "%", target))
        served = one_by_one(name)
        results.append(at_most("… served one at a time", served, "%", target + 1))
    if not quick:
        rounds = in_batches("fashion_mnist_c_dev_gradual", ROUNDS)
        tent = in_batches("fashion_mnist_c_dev_gradual", ROUNDS, variant="tent")
        note = " ".join(f"{one:.1f}" for one in rounds) + f"; tent {tent[0]:.1f} to {tent[-1]:.1f}"
        results.append(at_most("ten rounds: the last against the first", rounds[-1] - rounds[0], "points", 0.3, note))
    return results


def costs(rounds: int) -> list[Result]:
    """In passes of the bare model: forward and backward as the specification counts them."""
    made, bare = learner(), classifier()
    bare.train()
    shown = as_input(pictures("fashion_mnist_c_dev")["x"])
    x = torch.from_numpy(shown[:BATCH].copy())
    y = torch.zeros(BATCH, dtype=torch.long)

    def forward() -> None:
        with torch.no_grad():
            bare(x)

    def both() -> None:
        functional.cross_entropy(bare(x), y).backward()

    views = made.params.view_count
    count_plain, count_viewed = median_seconds(both, rounds), median_seconds(forward, rounds)
    plain = learner(threshold=1e-9, belt=False)
    lean = count_plain + 2 * count_viewed  # student both ways, anchor and teacher forward
    full = count_plain + (1 + views) * count_viewed
    one = shown[:1]
    predictor = made.predictor()
    padded = torch.from_numpy(np.repeat(one, 8, axis=0))
    answer = median_seconds(lambda: predictor.predict({"image": one}), rounds)
    frozen = build("benchmarks.small_cnn:classifier", str(WEIGHTS))

    def anchor_and_teacher() -> None:
        with torch.no_grad():
            frozen(padded)
            frozen(padded)

    served = median_seconds(anchor_and_teacher, rounds)
    whole, stream = learner(), iter(np.split(shown[: len(shown) // BATCH * BATCH], len(shown) // BATCH))

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


def run(quick: bool = False) -> list[Result]:
    """Costs and quality on the shared pictures; the classifier is trained first if it is not there."""
    if not SHARED.is_dir():
        return []
    trained(WEIGHTS)
    return costs(20 if quick else 60) + quality(quick)


if __name__ == "__main__":
    show("cotta", run("--quick" in sys.argv))
