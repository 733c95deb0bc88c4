"""Paths to values in a record: names and indices, such as `order.items[0].sku`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from thalweg.proto.rejected import Refused

_STEP = re.compile(r"([^.\[\]]+)((?:\[[0-9]{1,9}\])*)(?:\.(?=.)|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Path:
    """A path from an object. A name that is the whole path is found first; so it is in each object on the way."""

    text: str
    """All of it."""
    name: str
    """Its first name …"""
    indices: tuple[int, ...] = ()
    """… and the indices after it."""
    rest: Path | None = None
    """What follows in the object found there; None: that is the value."""

    @property
    def plain(self) -> bool:
        """Whether it is a name and nothing else."""
        return self.rest is None and not self.indices

    @property
    def has_literal(self) -> bool:
        """Whether the whole path could be a name, too."""
        return self.text != self.name

    @classmethod
    def of(cls, text: str) -> Path:
        """Reads a path. A text that is none, such as `a..b` or `a[b]`, is a name."""
        found = _read(text)
        return found or cls(text, text)

    @classmethod
    def literally(cls, name: str) -> Path:
        """A name as it is."""
        return cls(name, name)

    @classmethod
    def within(cls, name: str, inner: str) -> Path:
        """The name `inner`, as it is, in the object `name`."""
        return cls(name, name, (), cls(inner, inner))


def _read(text: str) -> Path | None:
    found = _STEP.match(text)
    if found is None:
        return None
    end = found.end()
    rest = _read(text[end:]) if end < len(text) else None
    if end < len(text) and rest is None:
        return None
    indices = tuple(int(one) for one in re.findall("[0-9]+", found[2]))
    return Path(text, found[1], indices, rest)


def find(record: dict[str, Any], path: Path) -> Any:
    """The value at a path; None if it is absent, null, beyond a null, or beyond the end of a list.

    Raises:
        Refused: Something on the way is neither null nor an object or list, as the path needs.
    """
    if path.has_literal and path.text in record:
        return record[path.text]
    return find_within(record.get(path.name), path)


def find_within(value: Any, path: Path) -> Any:
    """As `find`, from the value of the path's first name."""
    where = path.name
    for index in path.indices:
        if value is None:
            return None
        if not isinstance(value, list):
            raise Refused("wrong_dtype", f"field {where!r:.80}: expected a list, got {shown(value)}")
        value = value[index] if index < len(value) else None
        where += f"[{index}]"
    if path.rest is None or value is None:
        return value
    if not isinstance(value, dict):
        raise Refused("wrong_dtype", f"field {where!r:.80}: expected an object, got {shown(value)}")
    return find(value, path.rest)


def shown(value: Any) -> str:
    """A value of JSON for a message: its kind, and its beginning."""
    kind = _KINDS.get(type(value), type(value).__name__)
    if isinstance(value, bool):
        return "true" if value else "false"
    return kind if value is None or isinstance(value, list | dict) else f"{kind} {_beginning(value)!r:.80}"


def _beginning(value: Any) -> Any:
    """Python refuses to write integers of thousands of digits."""
    return value if not isinstance(value, int) or abs(value) < 10**80 else float("inf")


_KINDS: dict[type, str] = {
    bytes: "the bytes",
    dict: "an object",
    float: "the number",
    int: "the number",
    list: "a list",
    str: "the text",
    type(None): "null",
}
