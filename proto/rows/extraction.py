"""Values out of many JSON records at once: the tree of wanted paths becomes msgspec structs, compiled once.

A record is parsed straight into a struct that has only what is wanted; flat records then become columns by one `zip`.
Lists, and values that are wanted both whole and in part, are walked in Python. A record that the structs refuse is
read by `paths.find` instead, which decides and words every fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

from thalweg.proto.rows.paths import Path, find, find_within

Values: TypeAlias = Sequence[Any]
"""One value per record; None where it is missing."""
Unknown: TypeAlias = Literal["none", "inner", "all"]
"""Objects in which unknown fields are refused: none, those within the record, all."""


@dataclass
class _Level:
    """What is wanted of an object."""

    whole: set[str] = field(default_factory=set)
    """Names whose values are taken whole."""
    literal: set[str] = field(default_factory=set)
    """Whole paths that may be names."""
    inner: dict[str, _Level] = field(default_factory=dict)
    """Names of objects that are taken apart."""
    names: tuple[str, ...] = ()
    rejects: bool = False
    """Whether other names are refused."""
    kind: Any = None
    nothing: Any = None

    def add(self, path: Path) -> None:
        if path.has_literal:
            self.literal.add(path.text)
        if path.rest is None or path.indices:
            self.whole.add(path.name)
        else:
            self.inner.setdefault(path.name, _Level()).add(path.rest)

    def compile(self, reject: Unknown, required: frozenset[str] = frozenset()) -> None:
        self.inner = {name: level for name, level in self.inner.items() if name not in self.whole}
        for level in self.inner.values():
            level.compile("all" if reject == "inner" else reject)
        fields: list[tuple[str, Any, Any]] = [
            *((name, self.inner[name].kind, msgspec.NODEFAULT) for name in sorted(required)),
            *((name, Any, None) for name in sorted(self.whole)),
            *((name, Any, msgspec.UNSET) for name in sorted(self.literal)),
            *((name, level.kind | None, None) for name, level in sorted(self.inner.items()) if name not in required),
        ]
        self.names = tuple(name for name, _, _ in fields)
        self.kind = msgspec.defstruct(
            "record",
            [(f"f{i}", kind, msgspec.field(name=name, default=no)) for i, (name, kind, no) in enumerate(fields)],
            gc=False,
            forbid_unknown_fields=reject == "all",
        )
        self.rejects = reject == "all"
        self.nothing = None if required else self.kind()

    def columns(self, rows: Sequence[Any]) -> dict[str, Any]:
        """The values of each name; those of an object as such a table again."""
        table: dict[str, Any] = dict(zip(self.names, zip(*map(msgspec.structs.astuple, rows))))
        for name, level in self.inner.items():
            table[name] = level.columns([level.nothing if row is None else row for row in table[name]])
        return table

    def at(self, path: Path, table: dict[str, Any]) -> Values:
        if path.plain and not path.has_literal:
            found: Values = table[path.name]
            return found
        literal: Values | None = table[path.text] if path.has_literal else None
        if literal is not None and msgspec.UNSET not in literal:
            return literal
        if path.name in self.inner and path.rest is not None:
            below = self.inner[path.name].at(path.rest, table[path.name])
        else:
            below = [find_within(value, path) for value in table[path.name]]
        if literal is None or set(map(type, literal)) == {msgspec.UnsetType}:
            return below
        return [under if whole is msgspec.UNSET else whole for whole, under in zip(literal, below)]

    def unknown(self, record: dict[str, Any], where: str = "") -> str:
        """The path of a field that nobody wants; empty if there is none."""
        for name, value in record.items():
            if self.rejects and name not in self.names:
                return where + name
            level = self.inner.get(name)
            if level is not None and isinstance(value, dict) and (found := level.unknown(value, f"{where}{name}.")):
                return found
        return ""


class Extraction:
    """Extracts the values of some paths.

    Args:
        paths: What is wanted, by any names.
        reject: In which objects a field that is not wanted is refused.
        required: Objects, by name, without which a record is not read this way.
    """

    def __init__(
        self, paths: dict[str, Path], reject: Unknown = "none", required: frozenset[str] = frozenset()
    ) -> None:
        self.paths = paths
        """See `paths`."""
        self._level = _Level()
        for path in paths.values():
            self._level.add(path)
        self._level.compile(reject, required)
        self._decode = msgspec.json.Decoder(self._level.kind).decode

    def of_json(self, texts: Sequence[bytes]) -> dict[str, Values]:
        """The values of each name from JSON objects.

        Raises:
            Exception: One cannot be read this way; `of_object` says what is wrong with it, if anything is.
        """
        decode = self._decode
        table = self._level.columns([decode(text) for text in texts])
        return {name: self._level.at(path, table) for name, path in self.paths.items()}

    def of_object(self, record: dict[str, Any]) -> dict[str, Values]:
        """The values of each name from one decoded object. Raises Refused as `find` does."""
        return {name: [find(record, path)] for name, path in self.paths.items()}

    def unknown(self, record: dict[str, Any]) -> str:
        """The path of a field to be refused; empty if there is none."""
        return self._level.unknown(record)
