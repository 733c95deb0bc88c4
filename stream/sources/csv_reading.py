"""Rows of a CSV file, and the place of its columns by name."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from thalweg.proto.bounds.counted import counted
from thalweg.proto.bounds.limits import MAX_TEXT_BYTES
from thalweg.proto.rejected import Refused

_MOST_COMMENTS = 1000
_NUMBER = re.compile(rb"(^|[,;\t|])\s*[-+]?\d[\d.,]*\s*([,;\t|]|$)")
_SEPARATOR = re.compile(rb'"?sep=([^"A-Za-z0-9])"?', re.IGNORECASE)


class FileError(Exception):
    """A file cannot be read as a stream; the message names it."""


def unreadable(path: Path, error: OSError) -> FileError:
    """The error for a file that cannot be opened or read."""
    where = f"; paths are relative to the working directory, {Path.cwd()}" if not path.is_absolute() else ""
    hint = where if isinstance(error, FileNotFoundError) else ""
    return FileError(f"{path}: {error.strerror or error}{hint}")


class Row(NamedTuple):
    """One row of a CSV file."""

    place: int
    """Index among the rows of events, from 0; -1: the header."""
    line: int
    """Its first line, from 1; a quoted text may contain line breaks."""
    texts: Sequence[str]
    refused: str = ""
    """Why it is invalid."""


def told_delimiter(lines: Iterable[bytes]) -> tuple[str, int, Iterator[bytes]]:
    """The delimiter that a first line `sep=;` tells, as Excel reads and some programs write it.

    Lines before the header that begin with `#`, as some programs write them, are skipped; one that has as many columns
    as the line after it, in which numbers stand, is the header.

    Returns:
        The delimiter, empty if there is no such line; how many lines are skipped; the lines after them.
    """
    rest = iter(lines)
    first = next(rest, b"")
    found = _SEPARATOR.fullmatch(first.strip(b"\r\n"))
    if found is not None:
        return found[1].decode("latin-1"), 1, rest
    skipped: list[bytes] = []
    while first.startswith(b"#") and len(skipped) < _MOST_COMMENTS:
        skipped.append(first)
        first = next(rest, b"")
    if skipped and (not first or (_parts(skipped[-1]) == _parts(first) != (0, 0, 0, 0) and _NUMBER.search(first))):
        return "", len(skipped) - 1, chain([skipped[-1]], [first] if first else [], rest)
    return "", len(skipped), chain([first] if first else [], rest)


def _parts(line: bytes) -> tuple[int, ...]:
    return tuple(map(line.count, (b",", b";", b"\t", b"|")))


def csv_rows(lines: Iterable[bytes], delimiter: str = ",", before: int = 0) -> Iterator[Row]:
    """All rows but blank ones; after a quoting error reading continues with the next line.

    Args:
        lines: Of the file.
        delimiter: Between columns.
        before: Lines of the file that were read before these.
    """
    # invalid UTF-8 becomes surrogates, to be found in the row that has them
    text = (line.decode("utf-8", "surrogateescape") for line in lines)
    csv.field_size_limit(MAX_TEXT_BYTES)  # of this process; longer texts are invalid in every form
    reader = csv.reader(text, strict=True, delimiter=delimiter)
    place = -1
    while True:
        line = before + reader.line_num + 1
        try:
            texts = next(reader, None)
        except csv.Error as error:
            yield Row(place, line, (), f"lines {line} to {before + reader.line_num} are no CSV: {_fault(error)}")
        else:
            if texts is None:
                return
            if not texts:
                continue
            yield Row(place, line, texts)
        place += 1


def _fault(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a field of more than {MAX_TEXT_BYTES:,} characters; is a quote not closed?"
    return str(error)


@dataclass(frozen=True)
class Header:
    """The columns of a CSV file.

    Raises:
        FileError: There are none, two of one name, or one that is not UTF-8.
    """

    path: Path
    names: Sequence[str]
    places: dict[str, int] = field(init=False)

    @classmethod
    def read(cls, path: Path, rows: Iterator[Row], delimiter: str) -> Header:
        """The header of a file, its first row; `path` is for messages."""
        first = next(rows, None)
        if first is None or first.refused:
            raise FileError(f"{path}: expected a header line, got {first.refused if first else 'an empty file'}")
        header = cls(path, first.texts)
        other = next((mark for mark in ";\t|," if mark != delimiter and mark in first.texts[0]), "")
        if other and len(first.texts) == 1:
            raise FileError(f"{path}: the header is one column, {first.texts[0]!r:.80}; is the delimiter {other!r}?")
        return header

    def __post_init__(self) -> None:
        try:
            check_utf8(self.names, "the header")
        except Refused as error:
            raise FileError(f"{self.path}: {error}") from error
        object.__setattr__(self, "places", {name: place for place, name in enumerate(self.names)})
        if len(self.places) < len(self.names):
            twice = next(name for place, name in enumerate(self.names) if self.places[name] != place)
            raise FileError(f"{self.path}: column {twice!r:.80} appears twice in the header")

    def place(self, name: str, use: str) -> int:
        """The index of a column. Raises FileError that says what it is for, and which name is nearest."""
        if name in self.places:
            return self.places[name]
        near = get_close_matches(name, self.names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FileError(f"{self.path}: no column {name!r:.80} {use}; {hint}there are: {', '.join(self.names):.500}")

    def check(self, row: Row) -> None:
        """Raises Refused for a row that is invalid or has another number of columns."""
        if row.refused:
            raise Refused("malformed", row.refused)
        if len(row.texts) != len(self.names):
            raise Refused("wrong_shape", f"expected {counted(len(self.names), 'column')}, got {len(row.texts)}")


def check_utf8(texts: Sequence[str], where: str) -> None:
    """Raises Refused for texts that were not UTF-8 in their file."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        text = "".join(texts)
        byte = ord(text[error.start]) - 0xDC00  # of `surrogateescape`
        part = text[max(0, error.start - 10) : error.start + 5]
        near = "".join(chr(ord(one) - 0xDC00) if 0xDC80 <= ord(one) <= 0xDCFF else one for one in part)
        raise Refused(
            "malformed",
            f"{where}: expected UTF-8, got byte 0x{byte:02x}, near {near!r}; "
            f"in another encoding? --encoding latin-1 or cp1252",
        ) from error
