"""Standard input as a file, for readers that read it more than once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from thalweg.stream.sources.encodings import utf8_lines
from thalweg.stream.sources.files import STANDARD_INPUT
from thalweg.stream.sources.packed import opened


@contextmanager
def readable_twice(path: Path, encoding: str = "") -> Iterator[Path]:
    """The file itself; standard input is copied to a temporary file, named by what it holds: JSON lines or CSV."""
    if path != STANDARD_INPUT:
        yield path
        return
    with TemporaryDirectory(prefix="thalweg-") as folder:
        copy = Path(folder) / "input"
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        with copy.open("rb") as file:
            first = next(utf8_lines(opened(file, path), path, encoding), b"").lstrip()[:1]
        yield copy.rename(copy.with_suffix(".jsonl" if first in (b"{", b"[") else ".csv"))
