"""Files as their first bytes say they are, whatever their names: compressed ones are opened, others told by kind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import IO, TypeAlias, cast

from thalweg.stream.sources.csv_reading import FileError

BinaryFile: TypeAlias = IO[bytes] | zipfile.ZipExtFile | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
ENDINGS = (".gz", ".bz2", ".xz", ".zip")
"""Of names of compressed text files."""
DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a compressed file raises if it is damaged or ends early, besides `zlib.error` and OSError."""

_KINDS = (
    (b"PK\x03\x04", "a ZIP archive, as a workbook of Excel is one: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old workbook of Excel: save the sheet as CSV"),
    (b"PAR1\x15", "a Parquet file: give it a name that ends in .parquet"),
    (b"ARROW1\0\0", "an Arrow file: give it a name that ends in .arrow"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it with `zstd -d`"),
    (b"SQLite format 3\0", "a SQLite database: write its table as CSV"),
    (b"%PDF-", "a PDF"),
    (b"<!doctype html", "a web page: was the download refused?"),
    (b"<html", "a web page: was the download refused?"),
)
_LOOK = 64


def opened(file: IO[bytes], path: Path) -> BinaryFile:
    """A file as it is, or unpacked.

    Args:
        file: At its begin; closed with what is returned.
        path: For messages.

    Raises:
        FileError: It is no text, but of a kind that is known; the message says what to do.
    """
    buffered = file if hasattr(file, "peek") else io.BufferedReader(cast("io.RawIOBase", file))
    begin = buffered.peek(_LOOK)[:_LOOK]
    if begin.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=buffered)
    if begin.startswith(b"BZh") and begin[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return bz2.BZ2File(buffered)
    if begin.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(buffered)
    if begin.startswith(b"PK\x03\x04") and (member := _only_member(buffered, path)) is not None:
        return member
    for mark, what in _KINDS:
        if begin.startswith(mark) or (mark.startswith(b"<") and begin.lower().startswith(mark)):
            raise FileError(f"{path}: expected text, got {what}")
    return buffered


def _only_member(file: BinaryFile, path: Path) -> zipfile.ZipExtFile | None:
    """The one file in an archive, as data are often handed out; None where it is a workbook, or cannot be read."""
    try:
        archive = zipfile.ZipFile(cast("IO[bytes]", file))
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    names = [
        one.filename for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")
    ]
    if "[Content_Types].xml" in names:
        return None
    if len(names) != 1:
        shown = ", ".join(names[:5])
        raise FileError(f"{path}: expected a ZIP archive of one file, got {len(names)}: {shown:.300}; unpack it")
    try:
        return cast("zipfile.ZipExtFile", archive.open(names[0]))
    except RuntimeError as error:  # it needs a password
        raise FileError(f"{path}: {error}") from None
