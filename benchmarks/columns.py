"""The feature stage beside River's pipelines: what ten named columns cost, and how good the default ridge is on them.

Cost: four numbers, four categories, a boolean and a time, one in fifty values missing; River's StatImputer,
StandardScaler and OneHotEncoder learn and transform the same rows as dicts, made before the clock starts.
Accuracy: predicted, then learned, row by row, against the best of River's linear classifiers behind its own imputation,
scaling and one-hot encoding, each with its defaults and, where it has a step size, with a larger one. Electricity, and
three streams made here, with a known truth: its accuracy is in the note.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import gzip  # noqa: E402 - the environment comes first
from collections.abc import Callable, Iterator, Mapping  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from itertools import islice  # noqa: E402
from statistics import median  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, at_least, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.models.columns.make import make_learner  # noqa: E402
from thalweg.models.columns.settings import columns_of  # noqa: E402
from thalweg.models.columns.stage import FeatureStage  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels  # noqa: E402
from thalweg.proto.schema import Array, column_specs  # noqa: E402

LABELS = ("no", "yes")


@dataclass(frozen=True)
class Stream:
    """Rows of named columns, and what is to be answered."""

    columns: Mapping[str, Any]
    """As in a configuration."""
    inputs: Mapping[str, Array]
    labels: NDArray[np.int32]
    best: float = float("nan")
    """Accuracy of the truth, in %."""

    @property
    def batch(self) -> Batch:
        """All rows as events."""
        count = len(self.labels)
        times = np.arange(count, dtype=np.float64)
        return Batch(self.inputs, ClassLabels(self.labels, LABELS), np.ones(count), times)

    def rows(self) -> list[dict[str, Any]]:
        """As River takes them: None where missing; a missing category is one of its own."""
        named: dict[str, list[Any]] = {}
        for name, values in self.inputs.items():
            if values.dtype == object:
                named[name] = [value.decode() for value in values]
            else:
                named[name] = [None if value != value else value for value in values.tolist()]
        return [dict(zip(named, row)) for row in zip(*named.values())]


def texts(values: NDArray[Any]) -> Array:
    """A column of texts."""
    found = np.empty(len(values), dtype=object)
    found[:] = [str(value).encode() for value in values]
    return found


# Streams


def ten_columns(count: int) -> Stream:
    """Four numbers, four categories of 20, a boolean, a time."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"number{i}": "numeric" for i in range(4)}
    columns |= {f"category{i}": "categorical" for i in range(4)} | {"flag": "boolean", "when": "datetime"}
    inputs: dict[str, Array] = {}
    for i in range(4):
        numbers = random.normal(10.0 * i, i + 1.0, count)
        inputs[f"number{i}"] = np.where(random.random(count) < 0.02, np.nan, numbers)
        names = np.where(random.random(count) < 0.02, "", np.char.add("c", random.integers(0, 20, count).astype(str)))
        inputs[f"category{i}"] = texts(names)
    inputs["flag"] = (random.random(count) < 0.3).astype(np.float64)
    inputs["when"] = 1.7e9 + 10.0 * np.arange(count)
    return Stream(columns, inputs, np.zeros(count, np.int32))


def electricity(rows: int | None) -> Stream:
    """Whether the price goes up, half an hour after half an hour; the day of the week is a category."""
    with gzip.open(SHARED / "data" / "streams" / "electricity.csv.gz", "rt") as file:
        header = file.readline().strip().split(",")
        table = [line.rstrip("\n").split(",") for line in islice(file, rows)]
    by_name = {name: [row[place] for row in table] for place, name in enumerate(header)}
    columns: dict[str, Any] = {name: "numeric" for name in header if name not in ("t", "day", "label")}
    columns["day"] = "categorical"
    inputs: dict[str, Array] = {name: np.array(by_name[name], dtype=np.float64) for name in columns if name != "day"}
    inputs["day"] = texts(np.array(by_name["day"]))
    return Stream(columns, inputs, (np.array(by_name["label"]) == "UP").astype(np.int32))


def made(seed: int, count: int, drift: str, categories: tuple[int, ...]) -> Stream:
    """A stream of a known truth: linear in scaled numbers and in an effect of each category, with noise.

    Frequencies of categories fall like 1/rank, so most are rare. A number is missing more often the larger it is and
    the likelier the answer is yes; a category, where the answer is no.

    Args:
        seed: Of everything random.
        count: Rows.
        drift: `gradual`, effects turn slowly into others; `sudden`, others after each quarter; `recurring`, two sets of
            effects take turns.
        categories: Number of categories of each such column.
    """
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(count, 5)) @ np.diag([1.0, 1.0, 0.7, 0.7, 0.2])
    ranks = [random.choice(size, count, p=(p := 1.0 / (1.0 + np.arange(size))) / p.sum()) for size in categories]
    sets = [
        (random.normal(size=5), [random.normal(0.0, 1.2, size) for size in categories], random.normal(0.0, 0.3))
        for _ in range(4)
    ]
    scores = np.stack(
        [numbers @ weights + sum(e[r] for e, r in zip(effects, ranks)) + bias for weights, effects, bias in sets]
    )
    place = np.arange(count) / count
    if drift == "gradual":
        share = np.stack([np.maximum(0.0, 1.0 - np.abs(3.0 * place - number)) for number in range(4)])
    elif drift == "sudden":
        share = np.eye(4)[np.minimum((4 * place).astype(int), 3)].T
    else:
        share = np.eye(4)[(8 * place).astype(int) % 2].T
    truth = (share * scores).sum(axis=0)
    probability = 1.0 / (1.0 + np.exp(-2.0 * truth))
    labels = (random.random(count) < probability).astype(np.int32)
    best = 100.0 * float(((truth > 0) == labels).mean())
    inputs: dict[str, Array] = {}
    scale = np.array([100.0, 1.0, 0.01, 5.0, 1000.0])
    for i in range(5):
        missing = random.random(count) < 0.3 / (1.0 + np.exp(-(numbers[:, i] + 2.0 * labels - 1.0)))
        inputs[f"number{i}"] = np.where(missing, np.nan, 50.0 + numbers[:, i] * scale[i])
    for i, rank in enumerate(ranks):
        missing = random.random(count) < np.where(labels == 1, 0.02, 0.10)
        inputs[f"category{i}"] = texts(np.where(missing, "", np.char.add("c", rank.astype(str))))
    columns: dict[str, Any] = {name: "categorical" if "category" in name else "numeric" for name in inputs}
    return Stream(columns, inputs, labels, best)


# Ours and River's


def ours(stream: Stream, params: dict[str, Any] | None = None) -> tuple[float, float]:
    """Prequential accuracy in %, row by row, of ridge with its defaults, and µs an event."""
    columns = columns_of(stream.columns)
    context = LearnerContext(inputs=column_specs(columns), columns=columns, params=params or {})
    learner, right = make_learner("ridge", context), 0
    started = process_time()
    for event in stream.batch.micro_batches(1):
        predictor = learner.predictor()
        answer = int(predictor.predict(event.inputs)["label"][0])
        assert isinstance(event.labels, ClassLabels)
        right += answer >= 0 and predictor.classes[answer] == LABELS[event.labels.codes[0]]
        learner.learn(event)
    count = len(stream.labels)
    return 100.0 * right / count, 1e6 * (process_time() - started) / count


def river_stage(stream: Stream) -> Any:
    """River's imputation, scaling and one-hot encoding of a stream's columns."""
    from river import compose, preprocessing, stats

    texts_of = [name for name, values in stream.inputs.items() if values.dtype == object]
    others = [name for name in stream.inputs if name not in texts_of]
    numbers = (
        compose.Select(*others)
        | preprocessing.StatImputer(*((name, stats.Mean()) for name in others))
        | preprocessing.StandardScaler()
    )
    return numbers + (compose.Select(*texts_of) | preprocessing.OneHotEncoder(drop_zeros=True))


def river_linear() -> Mapping[str, Callable[[], Any]]:
    """Its linear classifiers."""
    from river import linear_model, optim

    return {
        "LogisticRegression": linear_model.LogisticRegression,
        "LogisticRegression, SGD 0.1": lambda: linear_model.LogisticRegression(optim.SGD(0.1)),
        "LogisticRegression, AdaGrad 0.3": lambda: linear_model.LogisticRegression(optim.AdaGrad(0.3)),
        "PAClassifier": linear_model.PAClassifier,
        "PAClassifier, C 0.01": lambda: linear_model.PAClassifier(C=0.01),
        "Perceptron": linear_model.Perceptron,
        "ALMAClassifier": linear_model.ALMAClassifier,
    }


def rivers(stream: Stream) -> dict[str, float]:
    """Prequential accuracy in % of each of River's linear pipelines, which share the transformed rows."""
    stage, models = river_stage(stream), {name: make() for name, make in river_linear().items()}
    right = dict.fromkeys(models, 0)
    for row, label in zip(stream.rows(), stream.labels.tolist()):
        before = stage.transform_one(row)  # with what came before, as River's pipelines predict
        for name, model in models.items():
            right[name] += model.predict_one(before) == bool(label)
        stage.learn_one(row)
        after = stage.transform_one(row)  # they learn from what is known with this row
        for model in models.values():
            model.learn_one(after, bool(label))
    return {name: 100.0 * count / len(stream.labels) for name, count in right.items()}


def micros(action: Callable[[], Any], rounds: int, events: int) -> float:
    """Median processor time of a call in µs an event: others may share the machine."""
    times = []
    for _ in range(rounds):
        started = process_time()
        action()
        times.append(process_time() - started)
    return 1e6 * median(times) / events


def cost(scale: Scale) -> Iterator[Result]:
    """Of the stage for ten columns, beside River's."""
    count = scale.of(65_536, quick=16_384, tiny=1024)
    stream = ten_columns(count)
    batch = stream.batch
    for size in (256, 64):
        stage = FeatureStage(columns_of(stream.columns))
        parts = list(batch.micro_batches(size))

        def learn(stage: FeatureStage = stage, parts: list[Batch] = parts) -> None:
            for part in parts:
                stage.learn(part)

        learned = micros(learn, scale.of(5, quick=3, tiny=1), count)
        yield at_most(f"ten columns to features and learned, by {size}", learned, "µs an event", 1.5)

        def answer(stage: FeatureStage = stage, parts: list[Batch] = parts) -> None:
            for part in parts:
                stage.features(part.inputs)

        asked = micros(answer, scale.of(5, quick=3, tiny=1), count)
        yield Result(name=f"… to features alone, by {size}", value=asked, unit="µs an event")
    rows, river = stream.rows()[: scale.of(10_000, quick=2_000, tiny=100)], river_stage(stream)

    def theirs() -> None:
        for row in rows:
            river.transform_one(row)
            river.learn_one(row)

    taken = micros(theirs, 1, len(rows))
    yield Result(name="River's imputer, scaler and one-hot, dict by dict", value=taken, unit="µs an event")


def accuracy(name: str, stream: Stream, judge: bool) -> Iterator[Result]:
    """Ridge behind columns against the best of River's."""
    reached, taken = ours(stream)
    found = rivers(stream)
    best = max(found, key=lambda one: found[one])
    note = f"River's best, {best}: {found[best]:.2f}; {taken:.0f} µs an event, row by row"
    if stream.best == stream.best:
        note += f"; the truth {stream.best:.2f}"
    if judge:
        yield at_least(f"{name}: accuracy, ridge by default", reached, "%", round(found[best], 2), note)
    else:
        yield Result(name=f"{name}: accuracy, ridge by default", value=reached, unit="%", note=note)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All; `QUICK` and `TINY` take fewer rows and judge no accuracy."""
    results = list(cost(scale))
    count, judge = scale.of(20_000, quick=3_000, tiny=100), scale is Scale.FULL
    if SHARED.is_dir():
        results += accuracy("electricity", electricity(scale.of(None, quick=3_000, tiny=100)), judge)
    else:
        results.append(no_streams("electricity as columns"))
    for seed, (drift, sizes) in enumerate(
        [("gradual", (5, 12, 40)), ("sudden", (8, 30, 200)), ("recurring", (4, 20, 2000))]
    ):
        results += accuracy(f"{drift} drift, categories {sizes}", made(seed, count, drift, sizes), judge)
    return results


if __name__ == "__main__":
    show("columns", run(Scale.asked()))
