"""Bodies that KServe's logger saw: rows of requests, labels of responses, in KServe's protocols 1 and 2.

Version 1: `{"instances": [...]}` and `{"predictions": [...]}`. Version 2, the Open Inference Protocol:
`{"inputs": [...]}` and `{"outputs": [...]}`, each a list of tensors whose first dimension counts the rows. Seldon's own
protocol: `{"data": {"names": [...], "ndarray": [...]}}`, or a `tensor` with `shape` and `values`, in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from thalweg.ops.serve.errors import TooLarge
from thalweg.ops.serve.http_api.binary_tensors import RawInputs
from thalweg.ops.serve.http_api.inference_json import tensor_of
from thalweg.ops.serve.kserve_logger.contents import contents_of
from thalweg.proto.json_text import as_json
from thalweg.proto.schema import Array, InputError

_Some = TypeVar("_Some", list[Any], Array)
MOST_ROWS = 10_000
"""Rows of one request or response."""
_REQUEST = '{"instances": [...]} (version 1), or {"inputs": [{"name", "shape", "datatype", "data"}]} (version 2)'
_RESPONSE = '{"predictions": [...]} (version 1), or {"outputs": [{"name", "shape", "datatype", "data"}]} (version 2)'
_LABELS = ("label", "predict", "prediction", "predictions", "class")
"""Outputs or fields that hold the answer, where a model gives several; in this order."""


class Rows(list[Any]):
    """The rows of a request: instances as they came, or a mapping of names to values for each row of tensors."""

    tensors: bool = False
    """Whether they were tensors."""
    id: str = ""
    """The `id` in the body, which version 2 has."""


class Answers(list[Any]):
    """The answer for each row of a request."""

    id: str = ""
    """The `id` in the body, which is that of the request's body."""


def rows_of(data: bytes) -> Rows:
    """The rows of a request. Raises InputError, with what was expected, and TooLarge."""
    body, raw = contents_of(data, _REQUEST)
    if isinstance(instances := body.get("instances"), list):
        rows = Rows(_bounded(instances))
    elif isinstance(tensors := body.get("inputs"), list):
        rows = Rows(_by_row(_tensors(tensors, "an input", raw)))
        rows.tensors = True
    elif isinstance(table := body.get("data"), dict):
        rows = Rows(_named(_bounded(_seldon_rows(table)), table.get("names")))
    else:
        raise InputError(f"expected {_REQUEST}, got {_shown(body)}")
    rows.id = _id_of(body)
    return rows


def labels_of(data: bytes) -> Answers:
    """The answer for each row of a response. Raises InputError, with what was expected, and TooLarge."""
    body, raw = contents_of(data, _RESPONSE)
    if isinstance(predictions := body.get("predictions"), list):
        rows = _bounded(predictions)
    elif isinstance(tensors := body.get("outputs"), list):
        rows = _by_row(_tensors(tensors, "an output", raw))
    elif isinstance(table := body.get("data"), dict):
        rows = _bounded(_seldon_rows(table))
    else:
        raise InputError(f"expected {_RESPONSE}, got {_shown(body)}")
    answers = Answers(_label(one, place) for place, one in enumerate(rows))
    answers.id = _id_of(body)
    return answers


def _id_of(body: Mapping[str, Any]) -> str:
    return found if isinstance(found := body.get("id"), str) else ""


def _seldon_rows(table: Mapping[str, Any]) -> list[Any]:
    """The rows of Seldon's table of values; one of a single dimension is a row of its own."""
    rows, tensor = table.get("ndarray"), table.get("tensor")
    if isinstance(tensor, dict) and isinstance(tensor.get("shape"), list):
        given = {"name": "tensor", "datatype": "FP64", "shape": tensor["shape"], "data": tensor.get("values")}
        _, array = tensor_of(given, RawInputs(None))
        rows = array.tolist()
    if not isinstance(rows, list):
        raise InputError(f"data: expected ndarray, or tensor with shape and values, got {_shown(table)}")
    return rows if all(isinstance(row, list | dict) for row in rows) else [rows]


def _named(rows: list[Any], names: Any) -> list[Any]:
    """Rows by the names of their columns, where they have names."""
    if not isinstance(names, list) or not names or not all(isinstance(row, list) for row in rows):
        return rows
    for place, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(f"row {place}: expected a value for each of {len(names)} names, got {len(row)}")
    return [dict(zip(map(str, names), row)) for row in rows]


def _tensors(tensors: list[Any], what: str, raw: RawInputs) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for tensor in tensors:
        name, array = tensor_of(tensor, raw)
        if name in arrays:
            raise InputError(f"{what}: {name!r:.80} is given twice")
        if not array.ndim:
            raise InputError(f"{what}: {name!r:.80}: expected a shape [rows, …], got []")
        arrays[name] = array
    raw.end()
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1:
        raise InputError(f"{what}: expected tensors with the same number of rows, got {sorted(sizes) or 'none'}")
    return arrays


def _by_row(arrays: Mapping[str, Array]) -> list[dict[str, Any]]:
    columns = {name: _plain(_bounded(array).tolist()) for name, array in arrays.items()}
    (count,) = {len(column) for column in columns.values()}
    return [{name: column[row] for name, column in columns.items()} for row in range(count)]


def _bounded(rows: _Some) -> _Some:
    if len(rows) > MOST_ROWS:
        raise TooLarge(f"expected at most {MOST_ROWS} rows, got {len(rows)}")
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.decode() if isinstance(value, bytes) else value


def _label(answer: Any, place: int) -> Any:
    """The label in the answer for a row: itself, the only value of a list, or the field that holds it."""
    if isinstance(answer, dict):
        named = [name for name in _LABELS if name in answer] or list(answer)
        if len(answer) > 1 and named[0] not in _LABELS:
            raise InputError(f"row {place}: expected one output, or one named 'label', got {_shown(answer)}")
        answer = answer[named[0]] if named else None
    while isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if answer is None or isinstance(answer, dict):
        raise InputError(f"row {place}: expected a class or a number, got {as_json(answer)}")
    return answer


def _shown(found: Mapping[str, Any]) -> str:
    return f"an object with {', '.join(map(repr, sorted(map(str, found)))) or 'nothing'}"[:200]
