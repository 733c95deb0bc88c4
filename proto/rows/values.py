"""Values of a column, as they come from any format, to the array that the column is in a batch.

One rule for every format: a JSON value, the text of a CSV field, a value of Parquet. What an array cannot be made of is
refused with the column, what was expected and what came. `None`, NaN and an empty text are missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from thalweg.proto.bounds.counted import counted
from thalweg.proto.bounds.json_numbers import strict_json
from thalweg.proto.bounds.limits import MAX_CATEGORY_BYTES, MAX_SECONDS, MAX_TEXT_BYTES
from thalweg.proto.bounds.local_forms import local_number, local_time, parted_format, unit_of
from thalweg.proto.bounds.moments import Moments
from thalweg.proto.bounds.times import Times, in_seconds, parsed, suggested_unit
from thalweg.proto.columns import class_name
from thalweg.proto.rejected import Reason, Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.extraction import Values
from thalweg.proto.rows.lazy import Numbers, Texts
from thalweg.proto.rows.markers import unmarked, unmarked_numbers
from thalweg.proto.rows.paths import shown
from thalweg.proto.schema import Array

_NUMBERS = {float, int, type(None)}
_MISSING_NUMBERS = {"", "nan", "na", "n/a", "null", "none"}
_OF_A_NUMBER = set("0123456789+-.eE \t")
_TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1", "1.0"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0", "0.0"), 0.0),
}
_DIGITS_ALONE = re.compile("(%[YmdHMS])+")
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def column_array(column: Column, values: Values) -> Array:
    """The array of a column, (N, ...), as `Column` describes it.

    Raises:
        Refused: A value does not fit the column.
    """
    if not column.missing_values:
        return _OF_KIND[column.kind](column, values)
    array = _OF_KIND[column.kind](column, unmarked(column, values))
    return unmarked_numbers(column, array) if column.kind in ("numeric", "list") and array.dtype != object else array


def number_of(text: str) -> float | None:
    """The number that a text is; None if it stands for a missing one.

    Raises:
        ValueError: It is none of these.
    """
    text = text.strip()
    if text.lower() in _MISSING_NUMBERS:
        return None
    if "_" in text or not text.isascii():  # Python takes these for numbers
        raise ValueError
    return float(text)


def _numeric(column: Column, values: Values) -> Array:
    if column.format and not isinstance(values, Numbers):
        values = [_from_local(column, one) if isinstance(one, str) else one for one in map(_alone, values)]
    array = _quick_numbers(values)
    if array is None:
        array = np.array([_number(column, one) for one in map(_alone, values)], dtype=np.float64)
    if np.isinf(array).any():
        raise _refused(column, "a finite number", values[int(np.isinf(array).argmax())], "non_finite")
    return array


def _quick_numbers(values: Values) -> Array | None:
    """All of them at once; None if one needs a closer look."""
    if isinstance(values, Numbers):
        return values.array
    kinds = set(map(type, values))
    try:
        if kinds <= _NUMBERS:
            return np.array(values, dtype=np.float64)  # None becomes NaN
        if kinds <= {*_NUMBERS, str}:
            texts = [value for value in values if isinstance(value, str)]
            if set("".join(texts)) <= _OF_A_NUMBER:
                return np.array([None if value == "" else value for value in values], dtype=np.float64)
    except (OverflowError, ValueError):
        pass
    return None


def _from_local(column: Column, text: str) -> float | None:
    """The number of a text in the format of its column; None where it is missing."""
    if text.strip().lower() in _MISSING_NUMBERS:
        return None
    try:
        return local_number(text, column.format, column.units)
    except ValueError:
        raise _refused(column, f"a number such as {column.format}{_of_units(column, text)}", text) from None


def _of_units(column: Column, text: str) -> str:
    """What a number of another unit needs, for a message."""
    unit, own = unit_of(text), parted_format(column.format)[1]
    known = "".join(f" or in {one}" for one, _ in column.units)
    ask = f"how many {own} one {unit} is" if own else f"how much one {unit} is"
    return f"{known} (units = {{ {unit} = … }} says {ask})" if unit and unit != own else known


def _number(column: Column, value: Any) -> float:
    """One number, NaN where it is missing."""
    try:
        if value is None:
            return math.nan
        if isinstance(value, str):
            found = number_of(value)
            return math.nan if found is None else found
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except ValueError:
        pass
    except OverflowError:
        raise _refused(column, "a finite number", value, "non_finite") from None
    truth = isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false"))
    raise _refused(column, 'a number (true and false are of kind = "boolean")' if truth else "a number", value)


def _boolean(column: Column, values: Values) -> Array:
    kinds = set(map(type, values))
    if kinds <= {bool, float, type(None)}:  # the usual case; a missing one becomes NaN
        found = np.array(values, dtype=np.float64)
        if float not in kinds or ((found == 0.0) | (found == 1.0) | np.isnan(found)).all():
            return found
    return np.array([_truth(column, value) for value in values], dtype=np.float64)


def _alone(value: Any) -> Any:
    """The value itself, and of a list of one value that value."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _truth(column: Column, value: Any) -> float:
    value = _alone(value)
    if value is True or value is False:
        return 1.0 if value else 0.0
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _MISSING_NUMBERS:
            return math.nan
        if (found := _TRUTH.get(text)) is not None:
            return found
    elif isinstance(value, int | float) and value in (0, 1):
        return float(value)
    raise _refused(column, "true or false", value)


def _texts(column: Column, values: Values) -> Array:
    if isinstance(values, Texts):
        return _bounded(column, values.encoded())
    kinds = set(map(type, values))
    try:
        if kinds <= {str, type(None)}:  # the usual case; often few differ
            known = {value: b"" if value is None else value.encode() for value in set(values)}
            encoded = list(map(known.__getitem__, values))
        else:
            encoded = [_text(column, one) for one in map(_alone, values)]
    except UnicodeEncodeError as error:
        raise Refused("malformed", f"column {column.name!r:.80}: expected UTF-8, got {error.object!r:.80}") from None
    return _bounded(column, encoded)


def _text(column: Column, value: Any) -> bytes:
    """A text, empty where it is missing; numbers and booleans as class names."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return b""
    if not isinstance(value, str | bool | int | float):
        raise _refused(column, "a text, a number or a boolean", value)
    try:
        return class_name(value).encode()
    except Refused:
        raise _refused(column, "a finite number of at most 1024 digits", value, "non_finite") from None


def _bounded(column: Column, encoded: list[bytes]) -> Array:
    most = MAX_CATEGORY_BYTES if column.kind == "categorical" else MAX_TEXT_BYTES
    longest = max(map(len, encoded), default=0)
    if longest > most:
        kind, hint = (
            ("a category", "; a `hashed` or `text` column takes more")
            if column.kind == "categorical"
            else (
                "a text",
                "",
            )
        )
        raise Refused(
            "too_large", f"column {column.name!r:.80}: expected {kind} of at most {most} bytes, got {longest}{hint}"
        )
    array = np.empty(len(encoded), dtype=object)
    array[:] = encoded
    return array


def _datetime(column: Column, values: Values) -> Array:
    if isinstance(values, Moments):
        return values.seconds()
    if column.format and _DIGITS_ALONE.fullmatch(column.format):  # 20261231 is a date, and no time of 1970
        values = [_digits(value) for value in map(_alone, values)]
    if column.unit != "rfc3339" and set(map(type, values)) <= {int, float, type(None)}:  # the usual case
        try:
            numbers = np.array(values, dtype=np.float64)
        except OverflowError:
            numbers = np.full(len(values), np.inf)
        seconds = _signed_seconds(numbers, column.unit)
        if not (np.abs(seconds) >= MAX_SECONDS).any():  # NaN is missing
            return seconds
    return np.array([_moment(column, value) for value in values], dtype=np.float64)


def _digits(value: Any) -> Any:
    """A whole number as its digits, as dates without signs between their parts are also written."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value % 1:
        return value
    return str(int(value))


def _signed_seconds(numbers: Times, unit: str) -> Times:
    """Unix seconds, also before 1970."""
    if unit == "auto":
        return np.copysign(in_seconds(np.abs(numbers)), numbers)
    return numbers / _PER_SECOND[unit]


def _moment(column: Column, value: Any) -> float:
    value = _alone(value)
    wanted = "a time in RFC 3339" if column.unit == "rfc3339" else "a number or a time in RFC 3339"
    if isinstance(value, str) and column.format:
        if value.strip().lower() in _MISSING_NUMBERS:
            return math.nan
        try:
            found = local_time(value, column.format)
        except (ValueError, OverflowError):
            raise _refused(column, f"a time in {column.format}", value) from None
        if abs(found) >= MAX_SECONDS:
            raise Refused("invalid_time", f"column {column.name!r:.80}: expected a plausible time, got {shown(value)}")
        return found
    if isinstance(value, str):
        try:
            value = number_of(value)
        except ValueError:
            try:
                return parsed(value, zone_needed=False)
            except Refused:
                raise _refused(column, wanted, value) from None
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or column.unit == "rfc3339":
        raise _refused(column, wanted, value)
    try:
        seconds = float(_signed_seconds(np.array([value], dtype=np.float64), column.unit)[0])
    except OverflowError:
        seconds = math.inf
    if abs(seconds) >= MAX_SECONDS:
        hint = "" if column.unit == "auto" or math.isinf(seconds) else suggested_unit(float(value), column.unit)
        unit = "a plausible unit" if column.unit == "auto" else column.unit
        raise Refused(
            "invalid_time", f"column {column.name!r:.80}: expected a time in {unit}, got {shown(value)}{hint}"
        )
    return seconds


def _list(column: Column, values: Values) -> Array:
    if column.length:
        return np.array([_number_list(column, value) for value in values], dtype=np.float64).reshape(
            len(values), column.length
        )
    return _bounded(column, [_text_list(column, value) for value in values])


def _number_list(column: Column, value: Any) -> list[float]:
    wanted = f"a list of {counted(column.length, 'number')}"
    if isinstance(value, str):
        value = _unpacked(column, value, wanted)
    if _is_missing(value):
        return [math.nan] * column.length
    if not isinstance(value, list):
        raise _refused(column, wanted, value)
    if len(value) != column.length:
        raise Refused("wrong_shape", f"column {column.name!r:.80}: expected {wanted}, got {len(value)}")
    numbers = [_number(column, one) for one in value]
    if any(map(math.isinf, numbers)):
        raise _refused(column, "finite numbers", next(one for one in value if math.isinf(float(one))), "non_finite")
    return numbers


def _text_list(column: Column, value: Any) -> bytes:
    """A JSON list of texts; a text or a number alone is a list of one."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _unpacked(column, value, "a list of texts")
    if _is_missing(value):
        return b""
    if isinstance(value, dict):
        raise _refused(column, "a list of texts", value)
    try:
        parts = [_text(column, one) for one in (value if isinstance(value, list) else [value])]
    except UnicodeEncodeError as error:
        raise Refused("malformed", f"column {column.name!r:.80}: expected UTF-8, got {error.object!r:.80}") from None
    return msgspec.json.encode([part.decode() for part in parts if part])


def _unpacked(column: Column, text: str, wanted: str) -> Any:
    """The list in a text, as a CSV field has it; None for an empty text."""
    if not text.strip():
        return None
    try:
        found = msgspec.json.decode(strict_json(text.encode(errors="surrogatepass")))
        return unmarked(column, [found])[0] if column.missing_values else found
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _refused(column, wanted, text) from None


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _refused(column: Column, wanted: str, value: Any, reason: Reason = "wrong_dtype") -> Refused:
    return Refused(reason, f"column {column.name!r:.80}, {column.kind}: expected {wanted}, got {shown(value)}")


_OF_KIND: dict[str, Callable[[Column, Values], Array]] = {
    "numeric": _numeric,
    "boolean": _boolean,
    "categorical": _texts,
    "hashed": _texts,
    "text": _texts,
    "datetime": _datetime,
    "list": _list,
}
