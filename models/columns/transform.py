"""Columns to features, given what is known of them: the same computation where a model learns and where it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.columns.categories import CategoricalColumns, Codes, Tables, packed, unpacked
from thalweg.models.columns.hashing import HashedColumns
from thalweg.models.columns.layout import Layout
from thalweg.models.columns.numbers import CLIP, NumberColumns
from thalweg.models.contract.learner import ParamsError
from thalweg.proto.bounds.counted import counted
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec, column_specs

Floats = NDArray[np.float64]
FEATURES = "features"
FIRED = "fired"
"""The tensor of a stage's state that says which features have fired."""


@dataclass(frozen=True)
class Known:
    """What a stage knows at one moment; immutable, and all that is needed to serve."""

    shift: Floats
    """Of the scaled numbers, (S, 1)."""
    factor: Floats
    """(S, 1), 0 where no value is known."""
    tables: Tables
    categories: tuple[tuple[bytes, ...], ...]
    """For each categorical column those with a feature, in order."""
    modes: tuple[int, ...]
    """For each categorical column without a feature for missing values, the feature of its most frequent category."""
    fired: NDArray[np.bool_]
    """(F,): whether a feature was anything but 0 in an event that was learned."""

    @cached_property
    def silent(self) -> NDArray[np.intp]:
        """Places of the features that were 0 in all that was learned: what a learner answers to them is not learned."""
        return np.flatnonzero(~self.fired)

    @cached_property
    def tensors(self) -> dict[str, Array]:
        """For a published version."""
        scale = np.concatenate([self.shift, self.factor], axis=1)
        modes = np.array(self.modes, np.int64)
        return {"scale": scale, "modes": modes, FIRED: self.fired, **packed("categories", self.categories)}

    @cached_property
    def digest(self) -> str:
        """Equal exactly when the features of all values are."""
        found = blake2b(digest_size=16)
        for name, tensor in self.tensors.items():
            found.update(f"{name} {tensor.shape}".encode() + tensor.tobytes())
        return found.hexdigest()


class Direct(Protocol):
    """Columns that do not become features of the stage, because something else makes inputs of them."""

    @property
    def columns(self) -> frozenset[str]:
        """Their names."""

    @property
    def identity(self) -> str:
        """Equal where the same is made of them."""

    def specs(self, width: int) -> dict[str, TensorSpec]:
        """The learner's inputs, given the number of features of all other columns."""

    def inputs(self, columns: Inputs, features: Array) -> Inputs:
        """The learner's inputs.

        Args:
            columns: All columns, checked, (N, ...) each.
            features: Of the others, (N, width) float32.

        Raises:
            InputError: A value does not fit.
        """


class Encoded(Protocol):
    """Columns that an encoder turns into one list of numbers before they come to the stage."""

    @property
    def columns(self) -> frozenset[str]:
        """Their names."""

    @property
    def made(self) -> Column:
        """The list of numbers, as a column of the stage."""

    @property
    def identity(self) -> str:
        """Equal where the numbers are."""

    def numbers(self, columns: Inputs, *, again: bool) -> Array:
        """The numbers (N, length) float64, of checked columns.

        `again`: whether the same events come again soon, to be learned: then what was computed may be kept.
        """


class Transform:
    """The columns of a model, and the one input `features` float32 (F,) that they become.

    Args:
        columns: By name, at least one.
        seed: Of the hashes.
        direct: What is made of columns that become no features; None: all do.
        encoded: What is made of columns by an encoder; None: there is none.

    Raises:
        ParamsError: There is no column; key `columns`.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        seed: int,
        direct: Direct | None = None,
        encoded: Encoded | None = None,
    ) -> None:
        if not columns:
            raise ParamsError({"columns": "expected at least one column, got none"})
        self.columns, self.seed, self.direct, self.encoded = dict(columns), seed, direct, encoded
        taken = frozenset[str]().union(*(one.columns for one in (direct, encoded) if one is not None))
        staged = {name: one for name, one in columns.items() if name not in taken}
        if encoded is not None:
            staged[encoded.made.name] = encoded.made
        self.layout = Layout(staged)
        """Of the columns that become features, and of what an encoder makes of others."""
        self.inputs = column_specs(columns)
        """The columns as tensors."""
        width = self.layout.width
        self.specs = direct.specs(width) if direct else {FEATURES: TensorSpec(FEATURES, "float32", (width,))}
        """The features, as the learner's input."""
        self.identity = self.layout.sha256(seed)
        for one in (direct, encoded):
            if one is not None:
                self.identity = sha256(f"{self.identity} {one.identity}".encode()).hexdigest()
        self.numbers = NumberColumns(self.layout)
        self.categorical = CategoricalColumns(self.layout)
        self.hashed = HashedColumns(self.layout, seed)
        self._wanted = [(name, np.dtype(_held_as(spec)), spec.shape) for name, spec in self.inputs.items()]

    def checked(self, inputs: Inputs, *, again: bool = False) -> tuple[Inputs, int]:
        """The columns, those that are not given filled with missing values, what an encoder makes of some, and the
        number of rows.

        `again`: as of `features`.

        Raises:
            InputError: A column is unknown or of another shape or dtype, all are missing, or lengths differ.
        """
        found: dict[str, Array] = {}
        rows = -1
        for name, dtype, shape in self._wanted:
            array = inputs.get(name)
            if array is None:
                continue
            if array.dtype is not dtype and array.dtype != dtype:
                expected = "UTF-8 bytes as objects" if dtype.kind == "O" else str(dtype)
                raise InputError(f"input {name!r}: expected {expected}, got {array.dtype}")
            if array.ndim != len(shape) + 1 or (shape and array.shape[1:] != shape):
                raise InputError(f"input {name!r}: expected {('N', *shape)}, got {array.shape}".replace("'N'", "N"))
            if rows not in (-1, len(array)):
                raise InputError(
                    f"input {name!r}: expected {counted(rows, 'row')} as in the other columns, got {len(array)}"
                )
            rows = len(array)
            found[name] = array
        if len(found) < len(inputs):
            unknown = min(set(inputs) - set(found))
            raise InputError(f"input {unknown!r}: unknown; expected {', '.join(map(repr, self.inputs))}")
        if rows < 0:
            raise InputError(f"inputs: all missing; expected {', '.join(map(repr, self.inputs))}")
        for name, dtype, shape in self._wanted:
            if name not in found:
                nothing: object = b"" if dtype.kind == "O" else np.nan
                found[name] = np.full((rows, *shape), nothing, dtype=dtype)
        if self.encoded is not None:
            found[self.encoded.made.name] = self.encoded.numbers(found, again=again)
        return found, rows

    def features(self, inputs: Inputs, known: Known, *, again: bool = False, silent: bool = True) -> Inputs:
        """The features of columns; those of a row do not depend on the other rows. Raises InputError.

        `again`: whether the same events come again soon, to be learned.
        `silent`: whether features that were 0 in all that was learned stay 0, as for a prediction.
        """
        columns, rows = self.checked(inputs, again=again)
        values, missing = self.numbers.gather(columns, rows)
        scaled = (values[: self.numbers.scaled] - known.shift) * known.factor
        np.clip(scaled, -CLIP, CLIP, out=scaled)
        if missing is not None:
            scaled[missing[: self.numbers.scaled]] = 0.0
        codes, texts = self.categorical.codes(columns, known.tables, rows)
        self.categorical.find_long(codes, texts, known.tables)
        out = np.zeros((rows, self.layout.width), dtype=np.float32)
        self.write(out, columns, values, missing, scaled, codes, known.modes)
        if silent and len(known.silent):
            out[:, known.silent] = 0.0
        return self.handed_on(columns, out)

    def handed_on(self, columns: Inputs, out: NDArray[np.float32]) -> Inputs:
        """The learner's inputs, of checked columns and the features (N, F) of those that become some."""
        return {FEATURES: out} if self.direct is None else self.direct.inputs(columns, out)

    def write(
        self,
        out: NDArray[np.float32],
        columns: Inputs,
        values: Floats,
        missing: NDArray[np.bool_] | None,
        scaled: Floats,
        codes: Codes,
        modes: tuple[int, ...],
    ) -> None:
        """Write the features of all columns into rows of zeros (N, F)."""
        self.numbers.fill(out, values, missing, scaled)
        self.categorical.fill(out, codes, modes)
        self.hashed.fill(out, columns)

    @cached_property
    def feature_groups(self) -> dict[tuple[str, ...], NDArray[np.intp]]:
        """Places of the features of each column; what an encoder makes of several columns belongs to all of them."""
        places: dict[tuple[str, ...], list[int]] = {}
        made = {} if self.encoded is None else {self.encoded.made.name: tuple(sorted(self.encoded.columns))}
        for place, name in enumerate(self.layout.columns()):
            places.setdefault(made.get(name, (name,)), []).append(place)
        return {names: np.array(found, dtype=np.intp) for names, found in places.items()}

    def names(self, known: Known) -> list[str]:
        """The name of each feature, (F,), such as `amount`, `country=DE`, `country (other)`, `amount (missing)`."""
        return self.layout.names(known.categories)

    def known(self, state: State) -> Known:
        """What a published version knows: the inverse of `Known.tensors`. Raises ValueError."""
        tensors = state.tensors
        scale = np.array(tensors["scale"])
        categories = tuple(map(tuple, unpacked("categories", tensors)))
        tables = self.categorical.tables(categories)
        fired = fired_in(tensors, self.layout.width)
        return Known(scale[:, :1], scale[:, 1:], tables, categories, tuple(tensors["modes"].tolist()), fired)


def fired_in(tensors: Mapping[str, Array], width: int) -> NDArray[np.bool_]:
    """Which of `width` features have fired; all, in a state of an earlier version, which did not note it."""
    return np.array(tensors[FIRED]) if FIRED in tensors else np.ones(width, np.bool_)


def _held_as(spec: TensorSpec) -> str:
    return "object" if spec.dtype == "bytes" else spec.dtype
