"""A prediction explained by columns: how much the score of the predicted class would change without each of them.

Without a column all of its features are 0: a number is at its mean, a category is none of the known ones, nothing is
marked as missing. Where scores are linear in the features, as those of `ridge` behind columns are, this change is the
sum of weight times feature over the features of the column, and all of them and the constant add up to the score.
Elsewhere it is what the column adds to this row's score given its other columns, and they do not add up to it.
Cost: one prediction of all rows per column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.models.columns.transform import FEATURES, Known, Transform
from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Array, Inputs

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
            most: Entries per row.

        Returns:
            Per row, entries with the `column`, its `value` (None where it is missing), and its `contribution`: to the
            score of the predicted class, `label`; or to the predicted value, a list if that has several numbers.
            Columns that an encoder takes together are one entry, `title + body`, with a list of values. No entries for
            a row without a prediction.
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
        changes = np.empty((len(self._groups), *scores.shape))  # (K, N) or (K, N, numbers of a value)
        for number, places in enumerate(self._groups.values()):
            without = features.copy()
            without[:, places] = 0.0
            changes[number] = scores - _explained_of(self._predictor.predict({FEATURES: without}), codes)
        size = np.abs(changes).reshape(len(changes), len(scores), -1).max(axis=2, initial=0.0)
        names = list(self._groups)
        answers = []
        for row in range(len(features)):
            told = codes is None or codes[row] >= 0
            order = np.argsort(-size[:, row], kind="stable")[:most].tolist()
            usable = told and bool(np.isfinite(size[:, row]).all())
            entries = [self._entry(columns, row, names[at], changes[at, row]) for at in order] if usable else []
            if codes is not None:
                label = self._predictor.classes[codes[row]] if told else ""
                entries = [{"label": label, **entry} for entry in entries]
            answers.append(entries)
        return answers

    @staticmethod
    def _entry(columns: Inputs, row: int, names: tuple[str, ...], change: Array) -> dict[str, Any]:
        numbers, values = change.reshape(-1).tolist(), [_shown(columns[name][row]) for name in names]
        return {
            "column": " + ".join(names),
            "value": values[0] if len(names) == 1 else values,
            "contribution": numbers[0] if len(numbers) == 1 else numbers,
        }


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
