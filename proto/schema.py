"""What an event of a model must look like: named tensors and the kind of its label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Inputs: TypeAlias = Mapping[str, Array]
"""Named input arrays, each (N, ...), dtype and trailing shape as the schema says."""


class InputError(ValueError):
    """Data from outside does not fit; the message names the thing, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor without its batch dimension.

    `dtype` is a NumPy name (`float32`, `float64`, `int64`, `int32`, `bool`, `uint8`) or `bytes` for strings.
    A dimension of -1 may have any length.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


LabelKind: TypeAlias = Literal["class", "number", "none"]


@dataclass(frozen=True, slots=True)
class Schema:
    """What an event of a model must look like: the decoder and the servers hold data against it."""

    inputs: Mapping[str, TensorSpec]
    label: LabelKind = "class"
    label_width: int = 1
    """Numbers per label, K; only for `number`."""
