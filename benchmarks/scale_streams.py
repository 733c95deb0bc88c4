"""Recorded streams with keys, for models of several shards: what is learned of them, and how answers are graded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cotta import Source
from benchmarks.event_sequences import Events, stackoverflow, train_and_test
from benchmarks.movie_tweetings import INPUTS, auc, log_loss, movie_tweetings
from benchmarks.small_cnn import as_input, trained
from benchmarks.streams import load
from thalweg.models.columns.make import make_learner
from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.prompt_tpp.predictor import KEY
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
Graded = Callable[[Any, Batch], Floats]
Quality = Callable[[Floats, Batch], float]
_SCALED_BY = 500
"""First rows that classifiers' inputs are scaled by, once for all: some estimators do not scale."""


@dataclass(frozen=True)
class Task:
    """A learner on a stream."""

    name: str
    log: Batch
    keys: Mapping[str, list[bytes]]
    """By what the stream may be keyed: a key for each event."""
    make: Callable[[], Learner]
    grade: Graded
    """What a predictor answers to a batch, before it is learned, as figures (n, k)."""
    qualities: Mapping[str, Quality]
    """By name, of the figures (N, k) of events, and these; of `log loss` less is better."""
    block: int = 64


def new(name: str, inputs: Mapping[str, TensorSpec], **params: Any) -> Callable[[], Learner]:
    """Makes such learners."""
    return lambda: make_learner(name, LearnerContext(inputs=inputs, params=params, seed=0))


# Recommendations


def click_through(events: int, **params: Any) -> Task:
    """`error_memory` on MovieTweetings."""
    stream = movie_tweetings(events)
    keys = {
        "user": [b"u%d" % user for user in stream.ids[:, 0].tolist()],
        "item": [b"i%d" % item for item in stream.ids[:, 1].tolist()],
        "event": _numbered(len(stream)),
    }
    named = {"error_memory": {}, "its network alone": {"memory": "none"}}
    name = next((name for name, given in named.items() if given == params), "error_memory")

    def labels(batch: Batch) -> Floats:
        values: Floats = batch.labels.values[:, 0]  # type: ignore[union-attr]
        return values

    qualities: dict[str, Quality] = {
        "AUC": lambda figures, log: auc(figures[:, 0], labels(log)),
        "log loss": lambda figures, log: log_loss(figures[:, 0], labels(log)),
    }
    whole = stream.batch(slice(None))
    return Task(f"{name}, MovieTweetings", whole, keys, new("error_memory", INPUTS, **params), _scores, qualities)


def _scores(predictor: Any, batch: Batch) -> Floats:
    scores: Floats = predictor.predict(batch.inputs)["score"].astype(np.float64)[:, None]
    return scores


# Event sequences


def sequences(name: str, events: int, **params: Any) -> Task:
    """`prompt_tpp` on a stream of event sequences."""
    stream = stackoverflow() if name == "stackoverflow" else train_and_test(name, 3600.0)[0]
    stream = Events(stream.keys[:events], stream.times[:events], stream.types[:events], stream.unit)
    ((_, log),) = stream.batches(len(stream))
    labels = log.labels
    assert isinstance(labels, ClassLabels)

    def grade(predictor: Any, batch: Batch) -> Floats:
        outputs = predict_batch(predictor, batch)
        told = predictor.properties["time_unit_seconds"]
        unit = 1.0 if told == "unknown" else float(told)
        types = np.array([*map(int, predictor.classes), -1])
        likelihood = outputs["log_likelihood"] + np.log(stream.unit / unit)
        right = (types[outputs["next_type"]] == batch.labels.codes).astype(np.float64)  # type: ignore[union-attr]
        return np.stack([likelihood, np.where(np.isfinite(likelihood), right, np.nan)], axis=1)

    qualities: dict[str, Quality] = {
        "log likelihood": lambda figures, _: float(np.nanmean(figures[:, 0])),
        "types right": lambda figures, _: float(np.nanmean(figures[:, 1])),
    }
    keys = {"sequence": [bytes(key) for key in log.inputs["key"]]}
    return Task(f"prompt_tpp, {name}", log, keys, new("prompt_tpp", KEY, **params), grade, qualities)


# Adaptation


def corrupted_pictures(weights: Path, shown: int | None, passes: int) -> Task:
    """`cotta` on pictures whose corruption changes, in order; its classifier is trained where there is none yet."""
    if not weights.exists():
        trained(weights, passes=passes, count=shown)
    source = Source(weights)
    data = source.pictures("fashion_mnist_c_dev")
    chosen = slice(None) if shown is None else slice(0, shown)
    x, y = as_input(data["x"][chosen]), data["y"][chosen].astype(np.int32)
    labels = ClassLabels(y, tuple(str(kind) for kind in range(10)))
    kinds = data["corruption"][chosen].tolist()
    log = Batch({"image": x}, labels, np.ones(len(x)), np.arange(float(len(x))))
    keys = {"event": _numbered(len(x)), "kind of corruption": [b"c%d" % kind for kind in kinds]}

    def grade(predictor: Any, batch: Batch) -> Floats:
        answer = predictor.predict(batch.inputs)["label"]
        right: Floats = (answer == batch.labels.codes).astype(np.float64)[:, None]  # type: ignore[union-attr]
        return right

    return Task("cotta, corrupted pictures", log, keys, source.learner, grade, {"accuracy": _mean}, block=50)


# Classes


def classes_of(
    stream: str, rows: int | None, learner: str, key: str | None = None, /, *, named: bool = False, **params: Any
) -> Task:
    """A classifier on a stream of classes, with the key of an input or of the event's number.

    Args:
        stream: As of `load`.
        rows: The first so many.
        learner: Its name.
        key: The number of the input that is the key, beside the event's number.
        named: Whether each input has a name, as estimators of River expect them.
        params: Of the learner.
    """
    features, labels = load(stream, rows)
    x = features.astype(np.float64)
    first = x[:_SCALED_BY]
    x = (x - first.mean(axis=0)) / np.maximum(first.std(axis=0), 1e-3 * np.abs(first).max(axis=0) + 1e-9)
    specs = {"features": TensorSpec("features", "float64", (x.shape[1],))}
    inputs: dict[str, Any] = {"features": x}
    if named:
        specs = {f"c{at}": TensorSpec(f"c{at}", "float64", (), optional=True) for at in range(x.shape[1])}
        inputs = {name: x[:, at].copy() for at, name in enumerate(specs)}
    log = Batch(inputs, labels, np.ones(len(x)), np.arange(float(len(x))))
    keys = {"event": _numbered(len(x))}
    if key is not None:
        name, _, column = key.partition(":")
        keys[name] = [f"{value:.6g}".encode() for value in features[:, int(column)].tolist()]
    short = learner.rpartition(".")[2]
    return Task(f"{short}, {stream}", log, keys, new(learner, specs, **params), right, {"accuracy": _mean})


def right(predictor: Any, batch: Batch) -> Floats:
    """Whether each event's class was answered, (n, 1)."""
    answer = predictor.predict(batch.inputs)["label"]
    labels = batch.labels
    assert isinstance(labels, ClassLabels)
    known = {name: code for code, name in enumerate(predictor.classes)}
    found: Floats = ((answer == labels.recoded(known)) & (answer >= 0)).astype(np.float64)[:, None]
    return found


def _mean(figures: Floats, _: Batch) -> float:
    return float(figures[:, 0].mean())


def _numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]
