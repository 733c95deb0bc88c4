"""The lines of a text file, in UTF-8 whatever the file's encoding is.

A byte order mark tells UTF-16 and UTF-32; without one a file is UTF-8, unless another encoding is given. Nothing is
replaced: a byte that the encoding has not is an error, with its place.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path

from thalweg.proto.json_text import BYTE_ORDER_MARK
from thalweg.stream.sources.csv_reading import FileError
from thalweg.stream.sources.packed import BinaryFile

_MARKS = (  # those of UTF-32 begin with those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LOOK = 256
_CHUNK = 1 << 16
_END = "\n"


def text_encoding(name: str) -> str:
    """The encoding of a name, as Python calls it; empty for none. Raises ValueError for an unknown one."""
    if not name:
        return ""
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # not all codecs are of texts
    except LookupError:
        raise ValueError(
            f"expected an encoding such as utf-8, latin-1, cp1252, utf-16 or shift_jis, got {name!r:.80}"
        ) from None
    return name


def utf8_lines(file: BinaryFile, path: Path, encoding: str = "") -> Iterator[bytes]:
    """The lines of a file, each in UTF-8, without a byte order mark.

    Args:
        file: At its begin.
        path: For messages.
        encoding: Of the file; empty: by its byte order mark, else UTF-8, whose lines are as they are.

    Raises:
        FileError: It is not in its encoding; the message has line and byte.
    """
    begin = file.peek(_LOOK)[:_LOOK] if hasattr(file, "peek") else b""
    marked = next((name for mark, name in _MARKS if begin.startswith(mark)), "")
    marked = "utf-8" if begin.startswith(codecs.BOM_UTF8) else marked
    usual = codecs.lookup(encoding or marked or "utf-8").name.removesuffix("-sig")
    if marked and not usual.startswith(marked):
        raise FileError(f"{path}: its byte order mark is one of {marked}, got --encoding {encoding}")
    encoding = encoding or marked
    if usual == "utf-8":
        if b"\0" in begin:
            _refuse_wide(begin, path)
        yield from _without_mark(_macintosh(file) if _only_returns(file) else file)
        return
    yield from _decoded(file, path, encoding)


def _decoded(file: BinaryFile, path: Path, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    done, rest = 0, ""
    while True:
        chunk = file.read(_CHUNK)
        try:
            rest += decoder.decode(chunk, not chunk)
        except UnicodeError as error:
            raise FileError(f"{path}, {_place(error, done + rest.count(_END), encoding)}") from None
        *lines, rest = rest.split(_END)
        for line in lines:
            yield f"{line}\n".encode().removeprefix(BYTE_ORDER_MARK if done == 0 else b"")
            done += 1
        if not chunk:
            break
    if rest:
        yield rest.encode().removeprefix(BYTE_ORDER_MARK if done == 0 else b"")


def _place(error: UnicodeError, before: int, encoding: str) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return f"line {before + 1:,}: expected {encoding}: {error}"
    line = before + 1 + error.object[: error.start].decode(encoding, "ignore").count(_END)
    return f"line {line:,}: expected {encoding}, got byte 0x{error.object[error.start]:02x}: {error.reason}"


def utf8_fault(line: bytes) -> str:
    """What is wrong with a line that is not UTF-8: the byte, its place, and what may help; empty if it is."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        near = line[max(0, error.start - 10) : error.start + 5].decode("latin-1")
        return (
            f"expected UTF-8, got byte 0x{line[error.start]:02x} at {error.start + 1}, near {near!r}; "
            f"in another encoding? --encoding latin-1 or cp1252"
        )
    return ""


def _refuse_wide(begin: bytes, path: Path) -> None:
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = begin[offset::2]
        if half.count(0) > 0.8 * len(half):
            raise FileError(
                f"{path}: expected UTF-8, got zero bytes at every other place: UTF-16 without a byte order mark? "
                f"--encoding {name}"
            )


def _only_returns(file: BinaryFile) -> bool:
    """Whether lines end in carriage returns alone, as some programs on Macs still write them."""
    begin = file.peek(_CHUNK) if hasattr(file, "peek") else b""
    return b"\n" not in begin and b"\r" in begin[:-1]


def _macintosh(file: BinaryFile) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def _without_mark(file: Iterable[bytes]) -> Iterator[bytes]:
    lines = iter(file)
    for first in lines:
        yield first.removeprefix(BYTE_ORDER_MARK)
        break
    yield from lines
