"""What a newcomer types first: tables of kinds that no default was chosen on, columns inferred, nothing set, by rows.

Beside ridge stand estimators of River at their defaults: a linear model behind scaling and one-hot columns, a forest of
five trees, and naive controls. Figures are accuracy in %, or the root mean squared error as a share of the label's
deviation. The other learners: `newcomers_others`.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable  # noqa: E402 - the environment comes first
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from river import compose, forest, linear_model, preprocessing  # noqa: E402

import thalweg  # noqa: E402
from benchmarks.newcomers_others import of_clicks, of_sequences, of_tables  # noqa: E402
from benchmarks.newcomers_rare import of_rare  # noqa: E402
from benchmarks.report import Result, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402

Floats = NDArray[np.float64]
Table = tuple[dict[str, Any], NDArray[Any]]
"""Columns, and labels: texts, or numbers."""


def _named(x: Floats) -> dict[str, Any]:
    return {f"x{number}": column for number, column in enumerate(x.T)}


def _classes(x: Floats, codes: NDArray[Any]) -> Table:
    return _named(x), np.array([f"c{int(code)}" for code in codes])


def linear(random: np.random.Generator, rows: int) -> Table:
    """Two classes, a line between them, a tenth of the labels near it wrong."""
    x = random.standard_normal((rows, 5))
    return _classes(x, x @ random.standard_normal(5) + 0.5 * random.standard_normal(rows) > 0)


def wrong_labels(random: np.random.Generator, rows: int) -> Table:
    """A line, and 20 % of all labels wrong."""
    x = random.standard_normal((rows, 8))
    return _classes(x, (x @ random.standard_normal(8) > 0) ^ (random.random(rows) < 0.2))


def two_together(random: np.random.Generator, rows: int) -> Table:
    """Two of four numbers have an effect only together (exclusive or)."""
    x = random.standard_normal((rows, 4))
    return _classes(x, (x[:, 0] > 0) ^ (x[:, 1] > 0))


def band(random: np.random.Generator, rows: int) -> Table:
    """One number, whose middle is another class than both ends."""
    x = random.standard_normal((rows, 1))
    return _classes(x, np.abs(x[:, 0]) > 0.7)


def thresholds(random: np.random.Generator, rows: int) -> Table:
    """Rules of thresholds, as trees have them."""
    x = random.random((rows, 8))
    return _classes(x, ((x[:, 0] > 0.5) & (x[:, 1] > 0.3)) | ((x[:, 2] > 0.8) & (x[:, 0] < 0.2)))


def hundred_classes(random: np.random.Generator, rows: int) -> Table:
    """A hundred classes, thirty rows of each."""
    y = random.integers(0, 100, rows)
    return _classes(random.standard_normal((rows, 16)) + 2 * random.standard_normal((100, 16))[y], y)


def in_order(random: np.random.Generator, rows: int) -> Table:
    """Three classes, one after the other."""
    y = np.sort(random.integers(0, 3, rows))
    return _classes(random.standard_normal((rows, 4)) + 1.5 * random.standard_normal((3, 4))[y], y)


def wrong_unit_at_first(random: np.random.Generator, rows: int) -> Table:
    """The first 64 rows are a million times too large."""
    x = random.standard_normal((rows, 4))
    y = x @ random.standard_normal(4) > 0
    x[:64] *= 1e6
    return _classes(x, y)


def two_categories(random: np.random.Generator, rows: int) -> Table:
    """Two categories of six values have an effect only together."""
    a, b = random.integers(0, 6, (2, rows))
    labels = np.where(random.standard_normal((6, 6))[a, b] > 0, "yes", "no")
    return {"a": np.array([f"a{one}" for one in a]), "b": np.array([f"b{one}" for one in b])}, labels


def last_values(random: np.random.Generator, rows: int) -> Table:
    """A random walk, to be told from its last two values."""
    y = np.cumsum(random.standard_normal(rows))
    return {"before": np.r_[0, y[:-1]], "two_before": np.r_[0, 0, y[:-2]]}, y


def moving_inputs(random: np.random.Generator, rows: int) -> Table:
    """A linear effect of numbers that move by fifty deviations."""
    x = random.standard_normal((rows, 4)) + np.linspace(0, 50, rows)[:, None]
    return _named(x), x @ [1.0, -1.0, 0.5, 0.0] + 0.3 * random.standard_normal(rows)


def product(random: np.random.Generator, rows: int) -> Table:
    """The product of two of four numbers."""
    x = random.standard_normal((rows, 4))
    return _named(x), x[:, 0] * x[:, 1] + 0.1 * random.standard_normal(rows)


def new_rules(random: np.random.Generator, rows: int) -> Table:
    """A linear effect that is another one in each third."""
    x, effects = random.standard_normal((rows, 5)), random.standard_normal((3, 5))
    return _named(x), (x * effects[np.arange(rows) * 3 // rows]).sum(1) + 0.2 * random.standard_normal(rows)


def fifty_rows(random: np.random.Generator, rows: int) -> Table:
    """Two classes, in fifty rows."""
    y = random.integers(0, 2, min(rows, 50))
    return _classes(random.standard_normal((len(y), 4)) + 1.5 * y[:, None], y)


def one_in_a_hundred(random: np.random.Generator, rows: int) -> Table:
    """Two classes, one of them in one row of a hundred."""
    y = random.random(rows) < 0.01
    return _classes(random.standard_normal((rows, 8)) + 1.5 * y[:, None], y)


STREAMS: tuple[Callable[[np.random.Generator, int], Table], ...] = (
    linear,
    wrong_labels,
    two_together,
    band,
    thresholds,
    hundred_classes,
    in_order,
    wrong_unit_at_first,
    two_categories,
    last_values,
    moving_inputs,
    product,
    new_rules,
)


def river(estimator: Any, table: Table) -> float:
    """The figure of an estimator of River."""
    columns, labels = table
    names, said = list(columns), []
    for row, label in zip(zip(*(column.tolist() for column in columns.values())), labels.tolist()):
        event = dict(zip(names, row))
        said.append(estimator.predict_one(event))
        estimator.learn_one(event, label)
    return figure(labels[1:], np.array(said[1:], dtype=labels.dtype))


def figure(labels: NDArray[Any], said: NDArray[Any]) -> float:
    """Accuracy in %, or the error as a share of the deviation."""
    if labels.dtype.kind == "U":
        return 100 * float(np.mean(said == labels))
    return float(np.sqrt(np.mean((said - labels) ** 2)) / labels.std())


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Each stream, one seed."""
    rows, results = scale.of(3000, quick=1000, tiny=60), []
    for stream in STREAMS:
        columns, labels = table = stream(np.random.default_rng(4), rows)
        classes = labels.dtype.kind == "U"
        report = thalweg.Model("ridge").evaluate({**columns, "label": labels}, "label")
        own = 100 * report.metrics["accuracy"] if classes else report.metrics["rmse"] / labels.std()
        numbers = compose.SelectType(float) | preprocessing.StandardScaler()
        scaled = numbers + (compose.SelectType(str) | preprocessing.OneHotEncoder())
        simple = scaled | (linear_model.SoftmaxRegression() if classes else linear_model.LinearRegression())
        trees = (forest.ARFClassifier if classes else forest.ARFRegressor)(n_models=5, seed=1)
        beside = f"River's linear model {river(simple, table):.4g}, forest {river(trees, table):.4g}"
        beside += f", the label before {figure(labels[1:], labels[:-1]):.4g}"
        name = f"{stream.__name__.replace('_', ' ')}: ridge, nothing set"
        results.append(Result(name=name, value=own, unit="%" if classes else "of σ", note=beside))
    results += [*of_tables((fifty_rows, one_in_a_hundred, *STREAMS), rows), *of_sequences(rows), *of_clicks(rows)]
    return [*results, *of_rare(2 * rows)]


if __name__ == "__main__":
    show("What a newcomer types first", run(Scale.asked()))
