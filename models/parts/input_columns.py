"""Named input arrays, validated and concatenated to one (N, F) array."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import ParamsError
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec

_FEW = 256
"""Below this size Python sums faster than NumPy checks; a sum that is not finite only leads to the full check."""


class InputColumns:
    """Validates inputs and flattens them; several inputs are concatenated in the order of the configuration."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        """For numeric inputs of fixed shape.

        Raises:
            ParamsError: There are none, or one is of text or of variable shape.
        """
        mistakes = {}
        for name, spec in specs.items():
            if spec.dtype == "bytes":
                mistakes[f"inputs.{name}"] = "holds text; this learner takes numbers"
            elif any(length < 1 for length in spec.shape):
                mistakes[f"inputs.{name}"] = f"shape {list(spec.shape)} is not fixed; this learner needs it to be"
        if not specs:
            mistakes["inputs"] = "missing; this learner needs at least one"
        if mistakes:
            raise ParamsError(mistakes)
        self.specs = dict(specs)
        self._wanted = [(name, np.dtype(spec.dtype), spec.shape) for name, spec in specs.items()]
        self.width = sum(prod(spec.shape) for spec in specs.values())
        """Numbers per event, F."""

    def gather(self, inputs: Inputs) -> Array:
        """(N, F), float64; a single input keeps its own dtype and is not copied.

        Raises:
            InputError: A tensor is missing, unknown, or of another shape or dtype.
        """
        parts = self.parts(inputs)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1, dtype=np.float64)

    def parts(self, inputs: Inputs) -> list[Array]:
        """One (N, numbers) array per input, in its own dtype, not copied; raises as `gather`."""
        if len(inputs) != len(self._wanted):
            self._refuse_unknown(inputs)
        parts = []
        for name, dtype, shape in self._wanted:
            array = inputs.get(name)
            if array is None:
                self._refuse_unknown(inputs)
                raise InputError(f"input {name!r}: missing; expected {_shape(shape)} {dtype}")
            if array.shape[1:] != shape or array.ndim != len(shape) + 1:
                raise InputError(f"input {name!r}: expected {_shape(shape)}, got {array.shape}")
            if array.dtype != dtype:
                raise InputError(f"input {name!r}: expected {dtype}, got {array.dtype}")
            parts.append(array if len(shape) == 1 else array.reshape(len(array), prod(shape)))
        if len(parts) > 1 and len({len(part) for part in parts}) > 1:
            counts = {name: len(inputs[name]) for name in self.specs}
            raise InputError(f"inputs differ in their number of rows: {counts}")
        return parts

    def _refuse_unknown(self, inputs: Inputs) -> None:
        unknown = sorted(set(inputs) - set(self.specs))
        if unknown:
            raise InputError(f"input {unknown[0]!r}: unknown; expected {', '.join(map(repr, self.specs))}")


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape)])})"


def all_finite(array: Array) -> bool:
    """Whether all numbers of a float array are finite."""
    if array.size <= _FEW and isfinite(sum(array.ravel().tolist())):
        return True
    return bool(np.isfinite(array).all())


def usable_rows(rows: Array) -> NDArray[np.bool_] | None:
    """Mask (N,) of rows whose numbers are finite and below 1e100, so that their squares can be summed; None if all
    are.
    """
    if rows.dtype.kind != "f":
        return None
    flat = rows.ravel()
    if len(flat) <= _FEW and sum([number * number for number in flat.tolist()]) < 1e200:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(np.dot(flat, flat))  # one pass; a float32 sum that overflows only leads to the full check
    if square < 1e200:
        return None
    usable: NDArray[np.bool_] = np.isfinite(rows) if rows.dtype.itemsize < 8 else np.abs(rows) < 1e100
    mask: NDArray[np.bool_] = np.logical_and.reduce(usable, axis=1)
    return None if mask.all() else mask
