"""What the answer to a request takes, known before it is computed: a row may ask for a thousand times its own size.

Counted are the arrays of the outputs, and the answer as it is sent, as often as it stands in memory on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.bounds.byte_budget import FREE_BYTES, HELD
from thalweg.ops.serve.bounds.pieces import output_bytes, width_of
from thalweg.ops.serve.class_names import offered
from thalweg.ops.serve.errors import TooLarge
from thalweg.proto.bounds.counted import counted
from thalweg.proto.schema import InputError, TensorSpec
from thalweg.proto.task import BY_CLASS

Form: TypeAlias = Literal["raw", "typed", "json", "rows"]
"""Raw contents; with typed ones beside them; tensors in JSON; rows in JSON."""
_NUMBER_TEXT = 24  # characters of a number in JSON, with its comma
_ROW_TEXT = 80  # of a row in JSON: version, staleness, brackets
_VARINT = 10
COPIES = 3  # of an answer: its parts, the whole, and what is being sent
_ENTRY_BYTES = 700  # of one entry of an explanation, as an object and as JSON
_MOST_NAMES = 10_000


class RowBytes(NamedTuple):
    """Of one row of an answer."""

    working: int
    """What it takes in memory at most."""
    least: int
    """What is sent at least."""


class AnswerBytes:
    """Holds what the answers of one interface take. Thread-safe.

    Args:
        form: How they are written.
        most_sent: Bytes of one answer; None: no limit but that of memory.
    """

    def __init__(self, form: Form, most_sent: int | None = None) -> None:
        self._form, self._most_sent = form, most_sent
        self._known: dict[str, tuple[Predictor, dict[tuple[str, ...], RowBytes]]] = {}

    def hold(self, model: str, predictor: Predictor, outputs: tuple[str, ...], rows: int, entries: int = 0) -> None:
        """Hold what an answer takes, until its request ends.

        Args:
            model: The name asked for.
            predictor: What will answer.
            outputs: Names of the requested outputs, which it has; empty: all.
            rows: N.
            entries: Of the explanation of each row, at most.

        Raises:
            TooLarge: It could never be sent, or never be held.
            QueueFull: It cannot be held now.
        """
        known = self._known.get(model)
        if known is None or known[0] is not predictor:
            known = self._known[model] = predictor, {}
        row = known[1].get(outputs)
        if row is None:
            row = row_bytes(predictor, outputs, self._form)
            if len(known[1]) < 64:
                known[1][outputs] = row
        taken = rows * (row.working + entries * _ENTRY_BYTES)
        if taken <= FREE_BYTES:
            return
        if self._most_sent is not None and rows * row.least > self._most_sent:
            raise too_long(rows, rows * row.least, self._most_sent)
        if (held := HELD.get()) is not None:
            held.add(taken)


def too_long(rows: int, size: int, most: int) -> TooLarge:
    """The refusal of an answer that is too long to be sent."""
    return TooLarge(
        f"the answer to {counted(rows, 'row')} takes {size} bytes or more; at most {most} are sent "
        f"(service.max_message_bytes); send at most {max(1, rows * most // size)} rows at once"
    )


def row_bytes(predictor: Predictor, outputs: Sequence[str], form: Form) -> RowBytes:
    """Of one row of an answer in this form."""
    specs, classes = offered(predictor), predictor.classes
    if len(outputs) > _MOST_NAMES:
        raise InputError(f"outputs: expected at most {_MOST_NAMES} names, got {len(outputs)}")
    most = least = _ROW_TEXT if form == "rows" else 0
    for name in outputs or predictor.outputs:
        longest, shortest = _written(specs[name], classes, form)
        most, least = most + longest, least + shortest
    own = 0 if "classes" not in outputs or "classes" in predictor.outputs else 4 * len(classes)
    return RowBytes(output_bytes(predictor) + own + COPIES * most, 0 if form in ("json", "rows") else least)


def _written(spec: TensorSpec, classes: Sequence[str], form: Form) -> tuple[int, int]:
    """Bytes of one row of an output, at most and at least."""
    width = width_of(spec.shape, len(classes))
    if spec.dtype == "bytes":
        if form in ("json", "rows"):
            longest = max((len(msgspec.json.encode(name)) for name in classes), default=2)
            return width * (longest + 1) + (len(spec.name) + 4) * (form == "rows"), 0
        texts = [len(name.encode()) for name in classes] or [0]
        frames = 2 if form == "typed" else 1
        return width * frames * (max(texts) + 6), width * (min(texts) + 4)
    item = np.dtype(spec.dtype).itemsize
    if form == "raw":
        return width * item, width * item
    if form == "typed":
        return width * (item + (item if spec.dtype.startswith("float") else _VARINT)), width * item
    if form == "json":
        return width * _NUMBER_TEXT, 0
    names = sum(len(msgspec.json.encode(name)) + 1 for name in classes) if spec.name in BY_CLASS or width > 1 else 0
    return width * _NUMBER_TEXT + len(spec.name) + 20 + names, 0
