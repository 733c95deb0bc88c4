"""From values of many events to the columns of a batch: shared by JSON and protobuf records and by files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.limits import MAX_LABEL_BYTES
from thalweg.proto.bounds.texts import check_classes
from thalweg.proto.event import Batch, ClassLabels, Labels, NumberLabels
from thalweg.proto.json_text import as_json
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Array, Schema, TensorSpec


def empty_batch(schema: Schema) -> Batch:
    """A batch without events, with all its columns."""
    return Batch(
        {
            name: np.zeros((0, *spec.shape), object if spec.dtype == "bytes" else spec.dtype)
            for name, spec in schema.inputs.items()
        },
        label_column(schema, []),
        np.zeros(0),
        np.zeros(0),
    )


def class_name(value: Any) -> str:
    """The class that a label names: 3, 3.0 and "3" are one class.

    Raises:
        Refused: It is neither a string, nor a number, nor a boolean.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) >= _MOST_DIGITS:
            raise Refused(
                "bad_label", f"label: expected a number of at most {MAX_LABEL_BYTES} digits, got a longer one"
            )
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    raise Refused("bad_label", f"label: expected a string or a finite number, got {as_json(value)}")


MISSING_LABELS = {
    *("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "#NA", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None"),
    *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
"""Texts that stand for a label that is missing, unless a class of this name is declared: those of `pandas.read_csv`."""


def is_missing_label(schema: Schema, value: Any) -> bool:
    """Whether a label stands for none: null, NaN, an empty text, or `NA` as tables spell it."""
    if isinstance(value, str):
        return value in MISSING_LABELS and value not in schema.classes
    return value is None or (isinstance(value, float) and math.isnan(value))


def class_of(schema: Schema, value: Any) -> str | None:
    """The class of the schema that a label names; None for a missing label.

    Where classes are declared, `True` and `TRUE` also name the class `true`, and `1.0` the class `1`, and the other way
    round, as they do in a CSV field.

    Raises:
        Refused: It is no label, or names a class that is not declared.
    """
    if is_missing_label(schema, value):
        return None
    name = class_name(value)
    if not schema.classes or name in schema.classes:
        return name
    alike = [one for one in schema.classes if _canonical(one) == _canonical(name)]
    if len(alike) == 1:
        return alike[0]
    near = get_close_matches(name, schema.classes, n=1)
    hint = f"; did you mean {near[0]!r:.80}?" if near else ""
    raise Refused(
        "bad_label", f"label: expected one of the classes {', '.join(schema.classes):.300}, got {name!r:.80}{hint}"
    )


def _canonical(name: str) -> str:
    value = of_untyped(name)
    return "" if value is None else class_name(value)


def of_untyped(text: str) -> str | int | float | bool | None:
    """The value of an untyped field, of a CSV file for example, as the same value in JSON.

    None for an empty field; a boolean for `true`, `True` and `TRUE`, likewise false; a number for a JSON
    number; else the text itself, also `007`, `nan` and ` 3`.
    """
    if not text:
        return None
    if (truth := _TRUTH.get(text)) is not None:
        return truth
    if _NUMBER.fullmatch(text) is None:
        return text
    try:
        return int(text)
    except ValueError:  # a fraction, an exponent, or more digits than Python converts
        return float(text)


_MOST_DIGITS = 10**MAX_LABEL_BYTES  # Python refuses to write integers of thousands of digits
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def numbers(schema: Schema, value: Any) -> Sequence[float]:
    """The K numbers of a label; true and false are 1 and 0, a text may be a number, and where the schema has two names
    of classes, those are 0 and 1. Raises Refused when invalid.

    Numbers in a list, as our own records have them, are what they are: of the names 1 and 2, `[1]` is not the first.
    """
    row = value if isinstance(value, list) else [value]
    names, width = schema.classes, schema.label_width
    if names or not all(type(one) in (int, float) for one in row):  # not the usual case
        listed = isinstance(value, list)
        row = [_label_number(one, () if listed and not isinstance(one, str) else names) for one in row]
    if len(row) != width or not all(_is_finite(one) for one in row):
        if names:
            raise Refused("bad_label", f"label: expected {' or '.join(map(repr, names))}, got {_said(value)}")
        raise Refused(
            "bad_label",
            f"label: expected {width} finite number{'s' * (width > 1)}, {LARGEST_LABEL:g} at most, "
            f"got {_said(value)}{_two_names(value) if width == 1 and isinstance(value, str) else ''}",
        )
    return row


def _label_number(value: Any, names: Sequence[str]) -> float:
    """NaN if it is none."""
    if not isinstance(value, bool | int | float | str):
        return math.nan
    if names and (place := _place(names, value)) is not None:
        return place
    if any(isinstance(of_untyped(name), int | float) for name in names):
        return math.nan  # of 1 and 2 that are 0 and 1, no other number is meant
    if isinstance(value, str):
        untyped = of_untyped(value.strip())
        return math.nan if isinstance(untyped, str | None) else untyped
    return value


def _place(names: Sequence[str], value: Any) -> int | None:
    """That of the name that a value has, as of `class_of`."""
    try:
        name = class_name(value)
    except Refused:
        return None
    found = [place for place, one in enumerate(names) if one == name or _canonical(one) == _canonical(name)]
    return found[0] if len(found) == 1 else None


def _two_names(name: str) -> str:
    """What to set where a name came in place of a number."""
    known = next((pair for pair in ZERO_AND_ONE if name.lower() in pair), None)
    pair = known or ("the name of 0", "the name of 1")
    told = name.isupper(), name.istitle()
    zero, one = (one.upper() if told[0] and known else one.title() if told[1] and known else one for one in pair)
    return f'; to take two names for 0 and 1, set classes = ["{zero}", "{one}"] of the model'


ZERO_AND_ONE = (("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"), ("negative", "positive"), ("neg", "pos"))
"""Pairs of names of which it is known which one is 0 and which is 1, in small letters."""


def _said(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a number of too many digits"


LARGEST_LABEL = 1e150
"""The largest number of a label: the square of a larger one is no number, nor is any figure that contains it."""


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value) and abs(value) <= LARGEST_LABEL
    except OverflowError:  # an integer beyond every float
        return False


def check_label(schema: Schema, value: Any) -> None:
    """Raises Refused for the label of an event, told by itself, that is missing or does not fit the schema."""
    if is_missing_label(schema, value):
        raise Refused("bad_label", f"label: expected one, got {value!r}, which stands for a missing label")
    if schema.label == "none":
        return
    if schema.label == "class":
        check_classes(filter(None, [class_of(schema, value)]))
    else:
        numbers(schema, value)


def label_column(schema: Schema, values: Sequence[Any]) -> Labels | None:
    """Labels of many events; unlabelled where one is missing. Raises Refused when one does not fit."""
    if schema.label == "none":
        return None
    if schema.label == "number":
        column = np.full((len(values), schema.label_width), np.nan)
        for row, value in enumerate(values):
            if not is_missing_label(schema, value):
                column[row] = numbers(schema, value)
        return NumberLabels(column)
    table: dict[str, int] = {}
    if len(set(map(type, values)) - {type(None)}) == 1 and not isinstance(_first(values), list | dict):
        # the usual case: values of one type, among which equal ones are one class, so that each is named once
        named = {value: class_of(schema, value) for value in dict.fromkeys(values)}
        table = {name: code for code, name in enumerate(dict.fromkeys(filter(None, named.values())))}
        check_classes(table)
        coded = {value: -1 if name is None else table[name] for value, name in named.items()}
        return ClassLabels(np.array([coded[value] for value in values], dtype=np.int32), tuple(table))
    names = [class_of(schema, value) for value in values]
    codes = [-1 if name is None else table.setdefault(name, len(table)) for name in names]
    check_classes(table)
    return ClassLabels(np.array(codes, dtype=np.int32), tuple(table))


def _first(values: Sequence[Any]) -> Any:
    return next(value for value in values if value is not None)


def weight_column(values: Sequence[float] | NDArray[np.float64], most: float = math.inf) -> NDArray[np.float64]:
    """Weights of many events. Raises Refused unless all are finite, not negative, and at most `most`."""
    column = np.array(values, dtype=np.float64)
    bad = ~(np.isfinite(column) & (column >= 0))
    if bad.any():
        raise Refused("bad_weight", f"weight: expected a finite number of at least 0, got {column[bad][0]}")
    if len(column) and column.max() > most:
        raise Refused("bad_weight", f"weight: expected at most max_weight, {most:g}, got {column.max():g}")
    return column


def whole_column(name: str, values: Sequence[Any], spec: TensorSpec) -> Array:
    """An integer input of many events, (N, ...), from (lists of) integers and floats.

    Raises:
        Refused: A number has a fraction, or does not fit the input's type.
    """
    limits = np.iinfo(spec.dtype)
    column = np.array(values)
    if column.dtype != np.int64 or column.min(initial=0) < limits.min or column.max(initial=0) > limits.max:
        # floats, too large integers or invalid values: one by one, because float64 would round above 2**53
        try:
            return np.array(_whole(values), dtype=spec.dtype).reshape(len(values), *spec.shape)
        except (OverflowError, ValueError) as error:
            raise Refused("wrong_dtype", f"input {name!r}: expected {spec.dtype}: {error}") from error
    return column.astype(spec.dtype, copy=False).reshape(len(values), *spec.shape)


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError(f"{value!r} is not an integer")
        return int(value)
    return value


def finite_rows(
    inputs: Mapping[str, Array], rows: int, specs: Mapping[str, TensorSpec] | None = None
) -> NDArray[np.bool_]:
    """Which rows contain only finite numbers, (N,); `specs`: inputs of which those that are optional are left out."""
    good = np.ones(rows, dtype=np.bool_)
    for name, column in inputs.items():
        if column.dtype.kind == "f" and not (specs is not None and specs[name].optional):
            flat = column.reshape(-1)
            with np.errstate(over="ignore", invalid="ignore"):
                if math.isfinite(np.dot(flat, flat)):  # one fast pass: non-finite or large values show in the sum
                    continue
            good &= np.isfinite(column).reshape(rows, -1).all(axis=1)
    return good


def key_text(key: bytes | None) -> str | None:
    """A record's key as text; an empty one is None; bytes that are not UTF-8 are escaped as `\\xNN`."""
    return key.decode("utf-8", "backslashreplace") if key else None
