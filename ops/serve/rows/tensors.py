"""Rows of a model with tensors as inputs: `{"features": [0.1, 0.2]}`, or an event, `{"inputs": {"features": …}}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.ops.serve.by_key.keys import KEY
from thalweg.ops.serve.known_names import check_fields
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows.arrays import array_of
from thalweg.ops.serve.rows.options import RowsRead, place_of
from thalweg.proto.bounds.texts import check_ids, check_keys
from thalweg.proto.json_text import as_json
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.assembly import name_of
from thalweg.proto.rows.fields import PARTS
from thalweg.proto.rows.ids import id_number, id_text
from thalweg.proto.schema import Array, InputError, TensorSpec


class TensorRows:
    """Reads rows of one model. Thread-safe."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def read(self, rows: Sequence[Mapping[str, Any]], single: bool, start: int = 0) -> RowsRead:
        """What the rows hold, of which the first is the request's row `start`. Raises InputError."""
        specs = self._specs()
        inputs: list[Mapping[str, Any]] = []
        ids: list[str | None] = []
        keys: list[str | None] = []
        for place, row in enumerate(rows, start):
            own, id = _parts(row, specs, place, single)
            if inputs and own.keys() != inputs[0].keys():
                missing = ", ".join(map(repr, sorted(own.keys() ^ inputs[0].keys())))
                raise InputError(f"row {place}: expected the inputs of row {start}; they differ in {missing}")
            inputs.append(own)
            ids.append(id)
            keys.append(_key_of(row, specs, place, single) if self._model.keys is not None else None)
        if not inputs:
            return RowsRead(_none(self._model.schema.inputs), ids, keys)
        columns = {name: _column(name, specs[name], [own[name] for own in inputs], single, start) for name in inputs[0]}
        return RowsRead(columns, ids, keys)

    def _specs(self) -> Mapping[str, TensorSpec]:
        served = self._model.versions.newest
        others = served.alternative_inputs if served is not None else None
        return {**self._model.schema.inputs, **(others or {})}


def id_of(value: Any, place: int, single: bool) -> str | None:
    """The id of a row; None if it has none. Raises InputError."""
    if value is None or value == "":
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"{place_of(place, single)}id: expected a string or a whole number, got {as_json(value)}")
    try:
        check_ids([str(value)])
    except Refused as error:
        raise InputError(f"{place_of(place, single)}{error}") from error
    return str(value)


def _key_of(row: Mapping[str, Any], specs: Mapping[str, TensorSpec], place: int, single: bool) -> str | None:
    """The key of a row, if no input has its name; None if it has none."""
    value = row.get(KEY)
    if value is None or (KEY in specs and not isinstance(row.get("inputs"), dict)):
        return None
    try:
        text = name_of("key", "bad_key", value)
        check_keys([text])
    except Refused as error:
        raise InputError(f"{place_of(place, single)}{error}") from error
    return text


def _parts(
    row: Mapping[str, Any], specs: Mapping[str, TensorSpec], place: int, single: bool
) -> tuple[Mapping[str, Any], str | None]:
    """The inputs of a row, and its id."""
    where = place_of(place, single)
    own = row.get("inputs")
    if "inputs" not in specs and isinstance(own, dict):
        check_fields(row, ("inputs", *PARTS), where + "the event")
        check_fields(own, specs, where + "the inputs")
        return own, id_of(row.get("id"), place, single)
    check_fields(row, {**specs, **dict.fromkeys(PARTS)}, where + "the row")
    own = {name: value for name, value in row.items() if name in specs}
    return own, id_of(row.get("id"), place, single) if "id" not in specs else None


def _column(name: str, spec: TensorSpec, values: list[Any], single: bool, start: int) -> Array:
    """One input of all rows, (N, ...)."""
    try:
        return _cast(spec, values)
    except (TypeError, ValueError, OverflowError) as error:
        problem = str(error)
    for place, value in enumerate(values, start):
        where = f"{place_of(place, single)}input {name!r:.80}: "
        try:
            found = _cast(spec, [value])
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{where}{error}") from error
        shape = found.shape[1:]
        if len(shape) != len(spec.shape) or any(want not in (-1, got) for want, got in zip(spec.shape, shape)):
            wanted = ["any" if size == -1 else size for size in spec.shape]
            raise InputError(f"{where}expected {_sizes(wanted)}, got {_sizes(shape)}")
    raise InputError(f"input {name!r:.80}: expected rows of one length: {problem}")


def _cast(spec: TensorSpec, values: list[Any]) -> Array:
    if spec.ids:
        return _ids(spec, values)
    kind = "s" if spec.dtype == "bytes" else np.dtype(spec.dtype).kind
    if kind in "iu" and (found := np.array(values)).dtype.kind == "f":  # 3.0 is 3, as in events
        if not (np.abs(found) < 2**53).all() or (np.trunc(found) != found).any():
            raise TypeError(f"expected whole numbers, got {str(values[0])[:80]}")
        values = found.astype(np.int64).tolist()
    return array_of(values, spec.dtype)


def _ids(spec: TensorSpec, values: list[Any]) -> Array:
    """Ids as events have them: a text for a number, or a number for a text, as the spec wants."""
    text = spec.dtype == "bytes"

    def each(value: Any) -> Any:
        if isinstance(value, list):
            return [each(part) for part in value]
        return id_text(spec.name, value) if text else id_number(spec.name, value)

    try:
        return array_of([each(value) for value in values], spec.dtype)
    except Refused as error:
        raise TypeError(str(error).partition(": ")[2]) from error


def _none(specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """The inputs of no rows."""
    return {
        name: np.zeros(
            (0, *(max(0, size) for size in spec.shape)), dtype=object if spec.dtype == "bytes" else spec.dtype
        )
        for name, spec in specs.items()
    }


def _sizes(shape: Sequence[Any]) -> str:
    return "one value" if not shape else f"a list of shape ({', '.join(map(str, shape))})"
