"""Every new version is tried before it is served: it must answer what the one in use answers, in the form declared.

A file can be whole and still hold weights that are no numbers, or arrays that do not fit each other: learners of this
package make no such versions, estimators and plug-ins of others may. The row tried is one that a caller asked last,
so it is one that the version in use has answered. An answer that has not the form of its declared outputs can be told
to no caller, so such a version is refused even if there is none before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import BY_CLASS


class UnusableVersion(Exception):
    """A version answers nothing where the one in use does, or in no form that can be told; the message says how."""


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
            before: The version in use; None: there is none, so that any that answers in its form is better.

        Raises:
            UnusableVersion: Its answer has another form than its outputs declare; or it cannot predict, or its numbers
                are not finite, and `before` was better.
        """
        self.wants_row = True
        row = self._row
        if row is None:
            row = _zeros(predictor.inputs)
        try:
            wrong = _fault(predictor, row)
        except _OtherForm as error:
            raise UnusableVersion(str(error)) from error
        if not wrong or before is None or _fails(before, row):
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


class _OtherForm(Exception):
    """An answer that is not as the predictor's outputs declare."""


def _fails(predictor: Predictor, row: Inputs) -> bool:
    try:
        return bool(_fault(predictor, row))
    except _OtherForm:
        return True


def _fault(predictor: Predictor, row: Inputs) -> str:
    """How it fails to answer a row; empty if it answers. Raises _OtherForm."""
    try:
        outputs = predictor.predict(row)
        declared, classes = dict(predictor.outputs), len(predictor.classes)
    except Exception as error:
        return f"it cannot predict: {type(error).__name__}: {error}"
    if not isinstance(outputs, Mapping):
        raise _OtherForm(f"expected its outputs by name, got {type(outputs).__name__}")
    for name, spec in declared.items():
        if wrong := _other_form(outputs.get(name), spec, classes):
            raise _OtherForm(f"its output {name!r}: {wrong}")
    return "" if all(map(_finite, outputs.values())) else _NOT_FINITE


def _other_form(output: Any, spec: TensorSpec, classes: int) -> str:
    """Why an output of one row is not as declared; empty if it is. Any precision of a kind of numbers will do, as they
    are told in the declared one, and whole numbers for any.
    """
    if output is None:
        return "missing, though it is declared"
    if not isinstance(output, np.ndarray):
        return f"expected an array, got {type(output).__name__}"
    if output.shape[:1] != (1,):
        return f"expected a row for 1, got shape {output.shape}"
    sizes = [classes if spec.name in BY_CLASS and size == -1 else size for size in spec.shape]
    if len(sizes) != output.ndim - 1 or any(size not in (-1, got) for size, got in zip(sizes, output.shape[1:])):
        return f"expected shape {(1, *sizes)}, got {output.shape}"
    kinds = _TAKEN["i" if spec.dtype == "bytes" else np.dtype(spec.dtype).kind]
    if output.dtype.kind not in kinds:
        what = "codes into the classes" if spec.dtype == "bytes" else spec.dtype
        return f"expected {what}, got {output.dtype}"
    if spec.dtype == "bytes" and output.size:
        for code in (int(output.max()), int(output.min())):
            if not -1 <= code < classes:  # -1: no class
                return f"class {code} of {classes}"
    return ""


_TAKEN = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}
"""Kinds of arrays that will do for the kind of a declared output."""


def _finite(array: Array) -> bool:
    array = np.asarray(array)  # one that is not declared may be anything
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
