"""Columns that a learner of ids takes as they are: a recommender's users and items, a point process's keys.

Such a learner names its inputs (`input_names` of its factory). A column of the name `user`, `item` or `key` is that
input, wherever it stands in a record (its `field`). For a recommender, the other categories and hashed values are
further ids, `fields`, in the order of their names, and what is left becomes features of the stage, `numeric`.
An id is the integer that its text writes, or a hash of 63 bits (`proto/rows/ids.py`), as for inputs of integers; a
missing one is an id of its own, so that all events without a user are those of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from thalweg.models.contract.learner import ParamsError
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.ids import id_number
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec

FURTHER, NUMBERS = "fields", "numeric"
"""Inputs for the columns that are not named."""
_NAMED = {"user": "int64", "item": "int64", "key": "bytes"}
_ID_KINDS = ("hashed", "categorical")
_MOST_KNOWN = 1 << 16  # ids whose number is kept, in each process


class IdColumns:
    """The ids among the columns of a model, and the inputs of its learner.

    Args:
        learner: Its name, for messages.
        takes: Names of its inputs.
        columns: Of the model.

    Raises:
        ParamsError: A column is missing, of a kind that is no id, or of no use to the learner; keys `columns`,
            `columns.NAME`.
    """

    def __init__(self, learner: str, takes: Sequence[str], columns: Mapping[str, Column]) -> None:
        self._named = [name for name in takes if name in _NAMED]
        further = [n for n, one in sorted(columns.items()) if n not in self._named and one.kind in _ID_KINDS]
        self._further = further if FURTHER in takes else []
        self.columns = frozenset({*self._named, *self._further})
        mistakes = dict(_missing(learner, self._named, columns))
        for name in (name for name in self._named if name in columns and columns[name].kind not in _ID_KINDS):
            mistakes[f"columns.{name}"] = f"expected kind hashed, for an id, got {columns[name].kind}"
        if NUMBERS not in takes:
            for name in sorted(columns.keys() - self.columns):
                mistakes[f"columns.{name}"] = f"{learner} takes the columns {', '.join(self._named)} alone, got {name}"
        if mistakes:
            raise ParamsError(mistakes)
        self.identity = f"ids {self._named} {self._further}"

    def specs(self, width: int) -> dict[str, TensorSpec]:
        """The learner's inputs: named ids, further ones, and the features of all other columns."""
        found = {name: TensorSpec(name, _NAMED[name], ()) for name in self._named}
        if self._further:
            found[FURTHER] = TensorSpec(FURTHER, "int64", (len(self._further),))
        if width:
            found[NUMBERS] = TensorSpec(NUMBERS, "float32", (width,))
        return found

    def inputs(self, columns: Inputs, features: Array) -> Inputs:
        """The learner's inputs. Raises InputError for an id that is not bytes."""
        found = {name: _ids(name, columns[name]) if _NAMED[name] == "int64" else columns[name] for name in self._named}
        if self._further:
            found[FURTHER] = np.stack([_ids(name, columns[name]) for name in self._further], axis=1)
        if features.shape[1]:
            found[NUMBERS] = features
        return found


def id_columns(learner: str, takes: Sequence[str], columns: Mapping[str, Column]) -> IdColumns | None:
    """The ids among the columns, for a learner of ids; None for any other. Raises ParamsError."""
    of_ids = any(name in _NAMED for name in takes) and all(name in (*_NAMED, FURTHER, NUMBERS) for name in takes)
    return IdColumns(learner, takes, columns) if of_ids else None


def _missing(learner: str, named: Sequence[str], columns: Mapping[str, Column]) -> list[tuple[str, str]]:
    """The mistake of columns that are not there, with what to write."""
    missing = [name for name in named if name not in columns]
    if not missing:
        return []
    lines = ", ".join(f'{name} = {{ kind = "hashed", field = "…" }}' for name in missing)
    what = "column" if len(named) == 1 else "columns"
    text = f"{learner} needs the {what} {' and '.join(named)}, got {', '.join(columns):.200}"
    return [("columns", f"{text}; write {lines} with the field of your records that holds it")]


def _ids(name: str, values: Array) -> Array:
    try:
        return np.fromiter(map(_number, values.tolist()), np.int64, len(values))
    except TypeError:
        kind = next(type(value).__name__ for value in values.tolist() if type(value) is not bytes)
        raise InputError(f"input {name!r}: expected UTF-8 bytes, got {kind}") from None


@lru_cache(maxsize=_MOST_KNOWN)
def _number(value: bytes) -> int:
    if type(value) is not bytes:
        raise TypeError
    try:
        return id_number("id", value)
    except Refused:  # missing, longer than an id may be, or no UTF-8
        return int.from_bytes(blake2b(value, digest_size=8).digest(), "big") & (2**63 - 1)
