"""Answers in rows as people read them: `{"label": "ok", "probabilities": {"ok": 0.97, …}, "version": 812, …}`.

The model's task says which output is the prediction and which has a column for each class; nothing depends on what an
output happens to be called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from thalweg.ops.serve.class_names import NO_NUMBER, offered
from thalweg.ops.serve.inference import InferenceResponse
from thalweg.proto.schema import Array, TensorSpec
from thalweg.proto.task import Task, task_of

PROBABILITIES = "probabilities"
"""The output of calibrated probabilities, if a model has one; and the name of scores that are probabilities."""
_NO_CLASS = "no class is known yet"
_NO_PREDICTION = "no prediction for this row: its key is unknown, or its numbers are beyond the model's range"


def to_rows(response: InferenceResponse, ids: Sequence[str | None]) -> list[dict[str, Any]]:
    """One object per row.

    Args:
        response: The response.
        ids: The id of each row, (N,); repeated where there is one.
    """
    predictor = response.served.predictor
    task, specs, classes = task_of(predictor), offered(predictor), predictor.classes
    about = {"version": response.served.info.version, "staleness_seconds": response.staleness_seconds}
    rows: list[dict[str, Any]] = [{} if id is None else {"id": id} for id in ids]
    for name in _shown(response, task):
        if name == task.answer and response.served.untaught:
            for row in rows:
                row["reason"] = NO_NUMBER
        elif name == task.answer:
            _add_answer(rows, specs[name], response.outputs[name], task, classes)
        elif shown := shown_by_class(name, task):
            for row, values in zip(rows, response.outputs[name].tolist()):
                row[shown] = {known: finite(value) for known, value in zip(classes, values)}
        else:
            for row, value in zip(rows, _values(specs[name], response.outputs[name], classes)):
                row[name] = value
    for place, row in enumerate(rows):
        row.update(about)
        if response.explanation is not None:
            row["explanation"] = response.explanation[place]
    return rows


def part_of(response: InferenceResponse, piece: slice) -> InferenceResponse:
    """The response for some of its rows."""
    explanation = None if response.explanation is None else response.explanation[piece]
    outputs = {name: array[piece] for name, array in response.outputs.items()}
    return response._replace(outputs=outputs, explanation=explanation)


def shown_by_class(name: str, task: Task) -> str:
    """The name in an answer of an output with a column for each class; empty for other outputs."""
    if name == task.scores:
        return PROBABILITIES if task.probabilities else name
    return name if name in (task.confidence, PROBABILITIES) else ""


def _shown(response: InferenceResponse, task: Task) -> list[str]:
    """Names of the outputs in a row: scores are left out beside the probabilities, unless they are asked for."""
    if response.options.outputs or PROBABILITIES not in response.outputs:
        return list(response.names)
    hidden = task.confidence or task.scores
    return [name for name in response.names if name != hidden or name == PROBABILITIES]


def _add_answer(rows: list[dict[str, Any]], spec: TensorSpec, array: Array, task: Task, classes: Sequence[str]) -> None:
    """Add the prediction; where there is none, the reason instead."""
    if _is_class(spec, task):
        for row, code in zip(rows, array.tolist()):
            if code >= 0:
                row[task.answer] = classes[code]
            else:
                row["reason"] = _NO_PREDICTION if classes else _NO_CLASS
        return
    for row, value in zip(rows, _values(spec, array, classes)):
        row[task.answer] = value
        if value is None or (isinstance(value, list) and None in value):
            row["reason"] = _NO_PREDICTION


def _is_class(spec: TensorSpec, task: Task) -> bool:
    """Whether the prediction is a code into the classes."""
    return spec.dtype == "bytes" or task.label == "class"


def _values(spec: TensorSpec, array: Array, classes: Sequence[str]) -> list[Any]:
    """An output by row: a value, a list, or lists; one number of a vector of width 1."""
    if spec.dtype == "bytes":
        names = (*classes, None)  # code -1: no known class
        return [_each(row, lambda code: names[code]) for row in array.tolist()]
    if spec.shape == (1,):
        array = array.reshape(len(array))
    return [_each(row, finite) for row in array.tolist()]


def _each(value: Any, change: Any) -> Any:
    return [_each(part, change) for part in value] if isinstance(value, list) else change(value)


def finite(value: Any) -> Any:
    """The value; None for a number that JSON cannot represent."""
    return value if not isinstance(value, float) or math.isfinite(value) else None
