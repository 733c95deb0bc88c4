"""Inputs of a batch as one dictionary per event: what River learns from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import ParamsError
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec

Row: TypeAlias = "dict[str, Any]"
Made: TypeAlias = "tuple[list[Row], NDArray[np.bool_] | None]"
"""The events (N,), and which are usable (N,); None if all are."""
FAR = 1e30
"""Numbers from here on are not learned from: their fourth powers are no floats."""

_FLOATS = ("float32", "float64")


class Rows:
    """Validates inputs, and makes a dictionary of each event: `amount`, `features[0]`; a missing value has no entry, or
    is None where the estimator imputes.

    Numbers are floats or integers, `bytes` are texts. Any number of threads may call `of`.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], lists: Collection[str] = ()) -> None:
        """For inputs of fixed shape.

        Args:
            specs: The inputs by name.
            lists: Those that hold a JSON list of texts each; they become lists.

        Raises:
            ParamsError: There are none, or one is of variable shape.
        """
        mistakes = {
            f"inputs.{name}": f"shape {list(spec.shape)} is not fixed; this learner needs it to be"
            for name, spec in specs.items()
            if any(length < 1 for length in spec.shape)
        }
        if not specs:
            mistakes["inputs"] = "missing; this learner needs at least one"
        if mistakes:
            raise ParamsError(mistakes)
        self.specs = dict(specs)
        self.lists = frozenset(lists)
        """Inputs that become lists of texts."""
        self.blanks = False
        """Whether a missing value is None instead of having no entry: what imputers of River expect."""
        self._names = {name: _keys(spec) for name, spec in specs.items()}
        self.keys = tuple(key for keys in self._names.values() for key in keys)
        """The features of an event without missing values, in order."""
        self.texts = frozenset(
            key for name, spec in specs.items() if spec.dtype == "bytes" for key in self._names[name]
        )
        """The features that are texts, or lists of texts."""
        of_floats = [
            (key, spec.optional) for name, spec in specs.items() if spec.dtype in _FLOATS for key in self._names[name]
        ]
        self._float_keys = [key for key, _ in of_floats]
        self._float_optional = np.array([optional for _, optional in of_floats], np.bool_)
        self.may_miss = any(spec.optional for spec in specs.values())
        """Whether values may be missing."""
        self.keeps = False
        """Whether the latest rows are kept for `taken`: where events are predicted before they are learned."""
        self._latest: tuple[dict[str, Array], Made] | None = None

    def of(self, inputs: Inputs) -> Made:
        """The events (N,) as dictionaries, and which are usable: without NaN, unless missing, and infinities.

        The second is None if all are.

        Raises:
            InputError: A tensor is missing, unknown, or of another shape or dtype.
        """
        made = self._made(inputs)
        if self.keeps:
            self._latest = dict(inputs), made
        return made

    def taken(self, inputs: Inputs) -> Made:
        """As `of`, for inputs that are learned now: the rows made for their prediction, if that was the latest."""
        latest, self._latest = self._latest, None
        same = latest is not None and len(latest[0]) == len(inputs)
        if latest is None or not (same and all(latest[0].get(name) is array for name, array in inputs.items())):
            return self._made(inputs)
        return latest[1]

    def _made(self, inputs: Inputs) -> Made:
        count = self._check(inputs)
        block, usable, holes = self._floats(inputs, count)
        if len(self._float_keys) == len(self.keys):
            if not holes:
                return [dict(zip(self.keys, row)) for row in block.tolist()], usable
            columns = block.T.tolist()
        else:
            of_floats = dict(zip(self._float_keys, block.T.tolist()))
            columns = []
            for name, spec in self.specs.items():
                if spec.dtype in _FLOATS:
                    columns += [of_floats[key] for key in self._names[name]]
                elif name not in inputs:
                    columns += [[None] * count for _ in self._names[name]]
                    holes = True
                else:
                    found = inputs[name].reshape(count, len(self._names[name])).T.tolist()
                    if spec.dtype == "bytes":
                        found, missing = _texts(found, spec.optional)
                        holes = holes or missing
                        if name in self.lists:
                            found = [[value and msgspec.json.decode(value) for value in column] for column in found]
                    columns += found
        keys = self.keys
        if not holes or self.blanks:
            return [dict(zip(keys, row)) for row in zip(*columns)], usable
        return [{key: one for key, one in zip(keys, row) if one is not None} for row in zip(*columns)], usable

    def _floats(self, inputs: Inputs, count: int) -> tuple[Array, NDArray[np.bool_] | None, bool]:
        """All floats (N, K), with None where one is missing; the usable rows, None if all are; is one missing?"""
        block = np.full((count, len(self._float_keys)), np.nan)
        at = 0
        for name, spec in self.specs.items():
            if spec.dtype in _FLOATS:
                width = len(self._names[name])
                if name in inputs:
                    block[:, at : at + width] = inputs[name].reshape(count, width)
                at += width
        with np.errstate(invalid="ignore"):
            good = np.abs(block) < FAR
        if good.all():
            return block, None, False
        missing = np.isnan(block) & self._float_optional
        good |= missing
        usable = None if good.all() else np.asarray(good.all(axis=1))
        if not missing.any():
            return block, usable, False
        told = block.astype(object)
        told[missing] = None
        return told, usable, True

    def _check(self, inputs: Inputs) -> int:
        """The number of rows."""
        unknown = sorted(set(inputs) - set(self.specs))
        if unknown:
            raise InputError(f"input {unknown[0]!r}: unknown; expected {', '.join(map(repr, self.specs))}")
        counts = {}
        for name, spec in self.specs.items():
            array = inputs.get(name)
            shape = f"({', '.join(['N', *map(str, spec.shape)])})"
            if array is None:
                if not spec.optional:
                    raise InputError(f"input {name!r}: missing; expected {shape} {spec.dtype}")
                continue
            if array.shape[1:] != spec.shape or array.ndim != len(spec.shape) + 1:
                raise InputError(f"input {name!r}: expected {shape}, got {array.shape}")
            wanted = np.dtype(object if spec.dtype == "bytes" else spec.dtype)
            if array.dtype != wanted and not (spec.dtype == "bytes" and array.dtype.kind == "S"):
                raise InputError(f"input {name!r}: expected {spec.dtype}, got {array.dtype}")
            counts[name] = len(array)
        if len(set(counts.values())) > 1:
            raise InputError(f"inputs differ in their number of rows: {counts}")
        if not counts:
            raise InputError(f"inputs: all are missing; expected {', '.join(map(repr, self.specs))}")
        return next(iter(counts.values()))


def _texts(columns: list[list[Any]], optional: bool) -> tuple[list[list[str | None]], bool]:
    """Texts, with None for an empty one that is missing; and whether one is."""
    texts: list[list[str | None]] = [[_text(value) for value in column] for column in columns]
    if not optional or all(map(all, texts)):
        return texts, False
    return [[value or None for value in column] for column in texts], True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode("utf-8", "replace")


def _keys(spec: TensorSpec) -> list[str]:
    return [
        spec.name + "".join(f"[{place}]" for place in places)
        for places in product(*(range(size) for size in spec.shape))
    ]
