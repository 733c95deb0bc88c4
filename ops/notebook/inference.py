"""The columns of a table whose kinds nobody gave: by their dtypes, and else by their values, as `thalweg init` does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from thalweg.ops.init.guess import guess
from thalweg.ops.init.labels import task_of_labels
from thalweg.ops.init.sample import Sample
from thalweg.ops.notebook.frames import Frame
from thalweg.ops.notebook.values import FrameError, kind_of_types, raw_values
from thalweg.ops.run.failed import Failed

_ROWS = 10_000
_LABEL = "\0label"
_BY_DTYPE = {
    "Boolean": "boolean",
    "Datetime": "datetime",
    "Date": "datetime",
    "Categorical": "categorical",
    "Enum": "categorical",
    "Duration": "numeric",
    "Decimal": "numeric",
}


def columns_of(frame: Frame, labels: list[Any] | None, leave_out: str = "") -> tuple[dict[str, Any], Mapping[str, str]]:
    """The columns as in a configuration, and those left out with the reason.

    Args:
        frame: The table; its first 10,000 rows are looked at.
        labels: One a row, if known.
        leave_out: The name of the label's column.

    Raises:
        FrameError: No column is left, or the table is empty.
    """
    if not len(frame):
        raise FrameError("expected rows to infer the columns from, got an empty table; give columns={NAME: KIND, …}")
    by_dtype = {name: _BY_DTYPE.get(str(frame.dtype(name)).partition("(")[0], "") for name in frame.names}
    for name in frame.names:
        if not by_dtype[name] and name != leave_out:
            by_dtype[name] = kind_of_types(raw_values(frame.column(name)))
    values = {name: frame.values(name)[:_ROWS] for name in frame.names if not by_dtype[name] and name != leave_out}
    values[_LABEL] = (labels or [0])[:_ROWS] if labels else [0] * min(len(frame), _ROWS)
    rows = [dict(zip(values, row)) for row in zip(*values.values())]
    found: dict[str, Any] = {name: kind for name, kind in by_dtype.items() if kind and name != leave_out}
    left_out: Mapping[str, str] = {}
    try:
        guessed = guess(Sample(rows, list(values)), label=_LABEL)
        left_out = guessed.left_out
        for name, one in guessed.columns.items():
            found[name] = {"kind": one.kind, **one.options} if one.options else one.kind
            if one.doubt:
                warnings.warn(f"column {name!r}: {one.doubt}", stacklevel=4)
    except Failed as error:
        if not found:
            raise FrameError(str(error)) from None
    return {name: found[name] for name in frame.names if name in found}, left_out


def is_regression(labels: list[Any]) -> bool:
    """Whether labels are numbers to be told, not names of classes, as `thalweg init` guesses it."""
    try:
        return task_of_labels(labels)[0] == "regression"
    except Failed:  # there are none
        return False


def check_classes_are_meant(labels: list[Any]) -> None:
    """Raise FrameError for labels with fractions, each of which would be a class of its own."""
    fractions = [one for one in labels if isinstance(one, float) and math.isfinite(one) and not one.is_integer()]
    if fractions and is_regression(labels):
        raise FrameError(
            f'y: expected classes, got numbers such as {fractions[0]!r}; for a regression give task="regression"'
        )
