"""Every new version is tried before it is served: it must answer what the version in use answers.

A file can be whole and still hold weights that are no numbers, or arrays that do not fit each other: learners of this
package make no such versions, estimators and plug-ins of others may. The row tried is one that a caller asked last,
so it is one that the version in use has answered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Array, Inputs, TensorSpec


class UnusableVersion(Exception):
    """A version answers nothing where the one in use does; the message says how."""


class Trial:
    """Tries the versions of one model. Any thread may offer rows, one thread tries."""

    def __init__(self) -> None:
        self.wants_row = True
        """Whether a row should be offered: one is tried for each version."""
        self._row: Inputs | None = None

    def offer(self, inputs: Inputs) -> None:
        """Take the first row of valid inputs, (N, ...) each, that the version in use has answered."""
        self.wants_row = False
        if all(map(len, inputs.values())):
            self._row = {name: np.array(array[:1]) for name, array in inputs.items()}

    def check(self, predictor: Predictor, state: State, before: Predictor | None) -> None:
        """Try a version.

        Args:
            predictor: Made from it.
            state: Its state.
            before: The version in use; None: there is none, so that any is better.

        Raises:
            UnusableVersion: It cannot predict, or its numbers are not finite, and `before` was better.
        """
        self.wants_row = True
        if before is None:
            return
        row = self._row
        if row is None:
            row = _zeros(predictor.inputs)
        wrong = _fault(predictor, row)
        if not wrong or _fault(before, row):
            return
        if wrong is _NOT_FINITE:  # an answer may be NaN because it knows no such key; then its state is finite
            names = sorted(_not_finite(state) - _not_finite(before.state()))
            if not names:
                return
            wrong = f"{wrong}: {', '.join(map(repr, names[:3]))}{', …' if len(names) > 3 else ''}"
        raise UnusableVersion(wrong)


_FEW = 256
"""Numbers below which Python sums faster than NumPy checks."""
_NOT_FINITE = "its answers are not finite, nor are numbers of its state"


def _fault(predictor: Predictor, row: Inputs) -> str:
    """How it fails to answer a row; empty if it answers."""
    try:
        outputs = predictor.predict(row)
        for name in predictor.outputs:
            output = outputs[name]
            if len(output) != 1:
                return f"its output {name!r} has {len(output)} rows for 1"
            if name == "label" and output.dtype == np.int32:
                highest = max(output.ravel().tolist(), default=-1)
                if highest >= len(predictor.classes):
                    return f"it answers class {highest} of {len(predictor.classes)}"
    except Exception as error:
        return f"it cannot predict: {type(error).__name__}: {error}"
    return "" if all(map(_finite, outputs.values())) else _NOT_FINITE


def _finite(array: Array) -> bool:
    if array.dtype.kind != "f":
        return True
    if array.size <= _FEW and math.isfinite(sum(array.ravel().tolist())):
        return True  # a sum that is not only leads to the full check
    return bool(np.isfinite(array).all())


def _not_finite(state: State) -> set[str]:
    """The tensors and the entries of the record that hold numbers which are not finite."""
    found = {name for name, tensor in state.tensors.items() if not _finite(tensor)}
    return found | {name for name, value in state.meta.items() if not _finite_record(value)}


def _finite_record(value: Any) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, float) and not np.isfinite(one):
            return False
        if isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
    return True


def _zeros(specs: Mapping[str, TensorSpec]) -> Inputs:
    """A row of zeros and empty texts."""
    return {
        name: np.full((1, *(max(length, 1) for length in spec.shape)), b"", dtype=object)
        if spec.dtype == "bytes"
        else np.zeros((1, *(max(length, 1) for length in spec.shape)), spec.dtype)
        for name, spec in specs.items()
    }
