"""Whether one column alone ranks two labels better than the model: where one is rare, a model has few events to learn
from, and a column may be another model's score.
"""

from __future__ import annotations

import math
from collections.abc import Container

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.counted import counted
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.stream.evaluation.figures.ranking import auc
from thalweg.stream.evaluation.figures.text import figure_text

MOST_ROWS, MOST_COLUMNS = 200_000, 32
"""More rows are enough to learn from, and nothing is said; further columns are not looked at."""
LEAST, FEW = 10, 100
"""Events of the rarer label: from which on something is said, and until which they are told to be few."""
_DEVIATIONS = 3.0
_CLEARLY = 0.02  # and a deviation: by what a column must be better


class SingleColumns:
    """The numbers among the inputs, and which of two labels each event had."""

    def __init__(self) -> None:
        self._parts: list[tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]] = []
        self._names: dict[str, None] = {}
        """Of the labels, in the order in which they came."""
        self._rows = 0

    def add(self, batch: Batch) -> None:
        """Note the labelled events of a batch."""
        rows, second = self._labels(batch)
        self._rows += len(rows)
        if not len(rows) or not self._usable:
            self._parts = self._parts if self._usable else []
            return
        numbers: dict[str, NDArray[np.float32]] = {}
        for name, given in batch.inputs.items():
            if given.dtype.kind not in "fb" or given.ndim > 2 or len(numbers) >= MOST_COLUMNS:
                continue
            several = given.ndim == 2
            table = given.reshape(len(given), -1)[rows, :MOST_COLUMNS].astype(np.float32)
            for place, column in enumerate(table.T):
                numbers[f"{name}[{place}]" if several else name] = column
        self._parts.append((numbers, second))

    @property
    def _usable(self) -> bool:
        return self._rows <= MOST_ROWS and len(self._names) <= 2

    def _labels(self, batch: Batch) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The labelled rows, and which of them have the second label."""
        labels = batch.labels
        if isinstance(labels, NumberLabels) and labels.values.shape[1] == 1:
            rows = np.flatnonzero(labels.present)
            values = labels.values[rows, 0]
            self._names |= dict.fromkeys("01") if ((values == 0) | (values == 1)).all() else dict.fromkeys("01?")
            return rows, values == 1
        if not isinstance(labels, ClassLabels):
            return np.zeros(0, np.intp), np.zeros(0, np.bool_)
        rows = np.flatnonzero(labels.present)
        codes = labels.codes[rows]
        self._names |= dict.fromkeys(labels.names[code] for code in dict.fromkeys(codes.tolist()))
        first = next(iter(self._names), None)
        return rows, np.array([name != first for name in labels.names], np.bool_)[codes]

    def hint(self, of_model: float | None, times: Container[str] = ()) -> str | None:
        """One sentence if a column ranks clearly better than a model with this AUC does; whether its large or its small
        values speak for a label is taken from all rows. `times`: columns that are no scores.
        """
        if of_model is None or not self._usable or not self._parts:
            return None
        second = np.concatenate([part for _, part in self._parts])
        rarer = min(int(second.sum()), int((~second).sum()))
        if rarer < LEAST:
            return None
        deviation = math.sqrt(1.0 / (12.0 * rarer))
        names = [name for name in self._parts[0][0] if all(name in numbers for numbers, _ in self._parts)]
        found = {name: self._auc(name, second) for name in names if name not in times}
        name, best = max(found.items(), key=lambda one: one[1], default=("", 0.0))
        if best < 0.5 + _DEVIATIONS * deviation or best - of_model < _CLEARLY + deviation:
            return None
        few = f"of the rarer label there were {counted(rarer, 'row')}, few to learn from: " if rarer < FEW else ""
        return (
            f"hint: the column {name!r} alone ranks better, with auc {figure_text(best)}, than the model, with "
            f"{figure_text(of_model)}: {few}where only the order counts, take the column, or fewer columns"
        )

    def _auc(self, name: str, second: NDArray[np.bool_]) -> float:
        """Of a column, in its better direction; missing values rank lowest."""
        values = np.concatenate([numbers[name] for numbers, _ in self._parts]).astype(np.float64)
        found = auc(np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf), second)
        return max(found, 1.0 - found)
