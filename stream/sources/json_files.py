"""JSON files as lines of records: one object a line, a list of objects, or a table as pandas writes it as one object.

A file that is one value is read whole; of lines only the first two are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.json_numbers import strict_json
from thalweg.proto.bounds.limits import MAX_JSON_DEPTH
from thalweg.stream.sources.csv_reading import FileError

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TABLES = ("data", "records", "rows", "results")
_HOW = "of pandas: df.to_json(FILE, orient='records', lines=True); of any list: jq -c '.[]'"


def json_lines(path: Path, lines: Iterator[bytes]) -> Iterator[bytes]:
    """The records of a JSON file, each a line of its own; an invalid line stays what it is.

    Raises:
        FileError: It is one value that is neither a record nor a table.
    """
    first = next((line for line in lines if line.strip()), b"")
    begun = first.strip()
    second = next(lines, b"")
    lines = chain([first] if first else [], [second] if second else [], lines)
    if begun.startswith(b"[") and (not begun.endswith(b"]") or b"{" in begun):
        return _of_list(path, b"".join(lines))
    of_lines = second.strip().startswith(b"{") or (second.strip() and _is_object(begun))  # the second may be garbage
    if begun.startswith(b"{") and not of_lines:
        whole = b"".join(lines)
        found = None
        with suppress(ValueError, RecursionError):
            found = json.loads(whole) if not too_deep(whole) else None
        if not isinstance(found, dict):
            return iter(whole.splitlines(keepends=True))
        rows = _rows_of(path, found)
        return iter([whole.replace(b"\n", b" ")]) if rows is None else _written(rows)
    return lines


def _is_object(text: bytes) -> bool:
    with suppress(ValueError, RecursionError):
        return not too_deep(text) and isinstance(json.loads(text), dict)
    return False


def _of_list(path: Path, whole: bytes) -> Iterator[bytes]:
    if too_deep(whole):
        raise FileError(f"{path}: expected JSON nested at most {MAX_JSON_DEPTH} deep, got deeper")
    for text in (whole, strict_json(whole)):
        with suppress(msgspec.MsgspecError, ValueError):
            return (bytes(one).replace(b"\n", b" ") for one in _LIST.decode(text))
    try:
        json.loads(whole)
        fault = "its end is missing"
    except ValueError as error:
        fault = str(error)
    raise FileError(
        f"{path}: expected one JSON object a line, or a list of objects, got a list that is no JSON: {fault}"
    )


def _rows_of(path: Path, found: dict[str, Any]) -> Iterable[Any] | None:
    """The rows of a table that is one object; None: the object is a record."""
    tables = [name for name, value in found.items() if _all(value, dict) and (len(found) == 1 or name in _TABLES)]
    if len(tables) == 1 and "specversion" not in found:
        return list(found[tables[0]])
    if found.keys() >= {"columns", "data"} and _all(found["data"], list):  # orient="split"
        return [dict(zip(found["columns"], row)) for row in found["data"]]
    inner = list(found.values())
    if len(inner) > 1 and _all(inner, dict):
        if _counts(found):  # orient="index"
            return inner
        keys = list(inner[0])
        if len(keys) > 1 and _counts(inner[0]) and all(list(one) == keys for one in inner):  # orient="columns"
            return [{name: column[key] for name, column in found.items()} for key in keys]
    sequence = isinstance(found.get("k", found.get("type_event")), list)
    if len(inner) > 1 and not sequence and _all(inner, list) and len(set(map(len, inner))) == 1 and len(inner[0]) > 1:
        raise FileError(f"{path}: expected one JSON object a line, got one object of columns; {_HOW}")
    return None


def _written(rows: Iterable[Any]) -> Iterator[bytes]:
    return (json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") for row in rows)


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(one, kind) for one in values)


def _counts(table: dict[str, Any]) -> bool:
    return list(table) == [str(place) for place in range(len(table))]
