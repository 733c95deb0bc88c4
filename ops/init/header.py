"""Whether the first line of a CSV file names columns, or is a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from thalweg.ops.init.readings import text_of


def header_doubt(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Why a header may be none: most of its names are numbers, or values of their columns; empty: it is one."""
    odd = [name for name in names if name and (_is_number(name) or _is_value(name, rows))]
    if not odd or 2 * len(odd) < len([name for name in names if name]):
        return ""
    shown = ", ".join(map(repr, odd[:3]))
    return f"names such as {shown} could be values; if the file has no header line, add one"


def _is_number(name: str) -> bool:
    with suppress(ValueError):
        float(name)
        return True
    return False


def _is_value(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row.get(name) is not None and text_of(row[name]) == name for row in rows)
