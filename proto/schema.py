"""The schema of a model's events: named tensors and the kind of label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping

Array: TypeAlias = NDArray[Any]
Inputs: TypeAlias = Mapping[str, Array]
"""Named input arrays, each (N, ...), with the dtype and trailing shape of the schema."""


class InputError(ValueError):
    """External data does not fit; the message names the thing, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor without its batch dimension.

    `dtype` is a NumPy name (`float32`, `float64`, `int64`, `int32`, `bool`, `uint8`) or `bytes` for strings.
    A dimension of -1 may have any length.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False
    """Values may be missing: NaN in float64, empty in `bytes`; a missing tensor has only such values."""
    ids: bool = False
    """Values are ids: texts are taken for integers, and integers for texts, as `rows.ids` has it."""


def column_specs(columns: Mapping[str, Column]) -> dict[str, TensorSpec]:
    """The tensors of columns, by name."""
    return {name: TensorSpec(name, one.dtype, one.shape, optional=True) for name, one in columns.items()}


LabelKind: TypeAlias = Literal["class", "number", "none"]


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a model's events: decoder and servers validate data against it."""

    inputs: Mapping[str, TensorSpec]
    label: LabelKind = "class"
    label_width: int = 1
    """Numbers per label, K; only for `number`."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """The columns, by name, if the inputs are columns: then there is one for each input."""
    classes: tuple[str, ...] = ()
    """The names of all classes, if they are declared: a label that names another is invalid; empty: any name is one. Of
    labels of one number: the two names that are 0 and 1."""
    fields: FieldMapping | None = None
    """Where the parts of an event stand in a JSON record; None: our own event form, with `inputs` and the rest."""
    max_weight: float = math.inf
    """The largest weight of an event: one with a larger one is invalid."""
