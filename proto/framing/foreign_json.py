"""What the readers of binary forms share on the way to JSON."""

from __future__ import annotations

import math
from typing import Any

import msgspec

_BEYOND = msgspec.Raw(b"1e999")  # JSON has no infinity; a number too large is refused as one


class SchemaInvalid(Exception):
    """A text is no schema of its form; the message says why."""


def finite(value: Any) -> Any:
    """With numbers that are too large instead of infinities, which JSON cannot write."""
    if isinstance(value, float) and not math.isfinite(value):
        return _BEYOND
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return value


def told(error: Exception) -> str:
    """An error of a library, for a reason."""
    return f"{type(error).__name__}: {error}"[:200]
