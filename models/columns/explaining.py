"""A prediction explained by columns: what each of them adds to the score of the predicted class; it adds up.

Without a column all of its features are 0: a number is at its mean, a category is none of the known ones, nothing is
marked as missing. From a row without any column, whose score is the constant, to the whole row columns are added one
after the other, each with the change of the score that it makes: once in the order of the columns, once in the reverse
one, and the mean of both is told. So all of them and the constant are the score, whatever the learner. Where scores are
linear in the features it is the sum of weight times feature; where at most two columns have an effect together, each
gets half of it: these are Shapley values (Castro, Gomez and Tejada, 2009, estimate them by more orders).
Cost: two predictions of all rows per column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.models.columns.transform import FEATURES, Known, Transform
from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Array, Inputs

OTHERS, CONSTANT = "(other columns)", "(constant)"
"""In place of a column: what those that are not told add together, and the score without any column."""
_LONGEST_TEXT = 200  # characters of a value in an explanation
_AT_ONCE = 1024
"""Rows explained at a time: bounds the memory of a request with many."""


def explains(predictor: Predictor, transform: Transform) -> bool:
    """Whether predictions from features can be explained by columns: they are scores of classes, or numbers."""
    outputs = predictor.outputs
    return transform.specs.keys() == {FEATURES} and ({"label", "scores"} <= outputs.keys() or "value" in outputs)


class ColumnExplainer:
    """Explains the predictions of a predictor from features; `explains` says of which it can.

    Args:
        predictor: It takes the input `features`.
        transform: Of the columns.
        known: What the stage knows.
    """

    def __init__(self, predictor: Predictor, transform: Transform, known: Known) -> None:
        self._predictor, self._transform, self._known = predictor, transform, known
        self._groups = transform.feature_groups

    def explain(self, inputs: Inputs, most: int) -> list[list[dict[str, Any]]]:
        """The columns behind each row's prediction, those that change it most first.

        Args:
            inputs: As for `predict`.
            most: Columns per row.

        Returns:
            Per row, entries with the `column`, its `value` (None where it is missing), and its `contribution`: to the
            score of the predicted class, `label`; or to the predicted value, a list if that has several numbers.
            Columns that an encoder takes together are one entry, `title + body`, with a list of values. Then what is
            missing to the score: `(other columns)`, if some were left out, and `(constant)`. No entries for a row
            without a prediction.
        """
        checked, rows = self._transform.checked(inputs)
        columns = {name: checked[name] for name in self._transform.inputs}
        found: list[list[dict[str, Any]]] = []
        for start in range(0, rows, _AT_ONCE):
            found += self._explained({name: one[start : start + _AT_ONCE] for name, one in columns.items()}, most)
        return found

    def _explained(self, columns: Inputs, most: int) -> list[list[dict[str, Any]]]:
        features = self._transform.features(columns, self._known)[FEATURES]
        predicted = self._predictor.predict({FEATURES: features})
        codes = predicted.get("label") if "value" not in predicted else None
        scores = _explained_of(predicted, codes)
        changes, constant = self._changes(features, codes)
        size = np.abs(changes).reshape(len(changes), len(scores), -1).max(axis=2, initial=0.0)
        names = list(self._groups)
        answers = []
        for row in range(len(features)):
            told = codes is None or codes[row] >= 0
            order = np.argsort(-size[:, row], kind="stable")[:most].tolist()
            usable = told and bool(np.isfinite(size[:, row]).all())
            entries = []
            if usable:
                entries = [self._entry(columns, row, names[at], changes[at, row]) for at in order]
                if len(order) < len(names):
                    entries.append(_rest(OTHERS, changes[:, row].sum(axis=0) - changes[order, row].sum(axis=0)))
                entries.append(_rest(CONSTANT, constant[row]))
            if codes is not None:
                label = self._predictor.classes[codes[row]] if told else ""
                entries = [{"label": label, **entry} for entry in entries]
            answers.append(entries)
        return answers

    def _changes(self, features: Array, codes: Array | None) -> tuple[Array, Array]:
        """What each column adds, (K, N) or (K, N, numbers of a value), and the constant, (N,) or (N, numbers)."""

        def score(part: Array) -> Array:
            return _explained_of(self._predictor.predict({FEATURES: part}), codes)

        constant = score(np.zeros_like(features))
        changes = np.zeros((len(self._groups), *constant.shape))
        orders = list(enumerate(self._groups.values()))
        for order in (orders, orders[::-1]):
            part, before = np.zeros_like(features), constant
            for number, places in order:
                if features[:, places].any():
                    part[:, places] = features[:, places]
                    changes[number] += (after := score(part)) - before
                    before = after
        return changes / 2.0, constant

    @staticmethod
    def _entry(columns: Inputs, row: int, names: tuple[str, ...], change: Array) -> dict[str, Any]:
        values = [_shown(columns[name][row]) for name in names]
        value = values[0] if len(names) == 1 else values
        return {"column": " + ".join(names), "value": value, "contribution": _as_json(change)}


def _rest(name: str, change: Array) -> dict[str, Any]:
    return {"column": name, "value": None, "contribution": _as_json(change)}


def _as_json(change: Array) -> Any:
    numbers = np.reshape(change, -1).tolist()
    return numbers[0] if len(numbers) == 1 else numbers


def _explained_of(predicted: Any, codes: Array | None) -> Array:
    """The scores of these classes (N,), or the predicted values (N, K), in float64."""
    if codes is None:
        return np.asarray(predicted["value"], dtype=np.float64)
    scores = np.asarray(predicted["scores"], dtype=np.float64)
    if not scores.shape[1]:
        return np.zeros(len(scores))
    return scores[np.arange(len(scores)), np.maximum(codes, 0)]


def _shown(value: Any) -> Any:
    """A value of a column as JSON; None where it is missing."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")[:_LONGEST_TEXT] or None
    numbers = [None if one != one else one for one in np.asarray(value, dtype=np.float64).reshape(-1).tolist()]
    return numbers[0] if np.ndim(value) == 0 else numbers
