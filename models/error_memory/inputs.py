"""The inputs of a recommender: user, item, further ids, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.input_columns import InputColumns
from thalweg.proto.schema import Inputs, TensorSpec

Ids = NDArray[np.int64]
Numbers = NDArray[np.float32]

_SHAPES = {"user": ("int64", 0), "item": ("int64", 0), "fields": ("int64", 1), "numeric": ("float32", 1)}

INPUT_NAMES = tuple(_SHAPES)


class RecommenderInputs:
    """`user` and `item` int64, optional `fields` int64 [G] and `numeric` float32 [H].

    Raises:
        ParamsError: An input is missing, unknown, or of another type or shape.
    """

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        mistakes = {}
        for name, spec in specs.items():
            if name not in _SHAPES:
                mistakes[f"inputs.{name}"] = f"unknown; this learner takes {', '.join(_SHAPES)}"
                continue
            dtype, dimensions = _SHAPES[name]
            if spec.dtype != dtype or len(spec.shape) != dimensions:
                form = "[]" if not dimensions else "[count]"
                mistakes[f"inputs.{name}"] = f"expected {dtype} {form}, got {spec.dtype} {list(spec.shape)}"
        for name in ("user", "item"):
            if name not in specs:
                mistakes[f"inputs.{name}"] = "missing; expected int64 []"
        if mistakes:
            raise ParamsError(mistakes)
        self._columns = InputColumns(
            {name: replace(spec, ids=spec.dtype == "int64") for name, spec in specs.items()}  # texts are hashed
        )
        self.specs = self._columns.specs
        self.fields = 2 + (specs["fields"].shape[0] if "fields" in specs else 0)
        """Ids per event, user and item among them."""
        self.numeric = specs["numeric"].shape[0] if "numeric" in specs else 0
        """Numbers per event."""

    def gather(self, inputs: Inputs) -> tuple[Ids, Numbers]:
        """Ids (N, fields), user and item first, and numbers (N, numeric). Raises `InputError` where they do not fit."""
        parts = dict(zip(self.specs, self._columns.parts(inputs)))
        ids = [parts[name] for name in ("user", "item", "fields") if name in parts]
        numbers = parts.get("numeric", np.zeros((len(ids[0]), 0), dtype=np.float32))
        return np.concatenate(ids, axis=1), numbers
