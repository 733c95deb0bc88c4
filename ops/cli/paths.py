"""Paths as arguments: relative to the working directory, like all paths; a file URL is one, too."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import typer

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # a scheme has more than one letter: C: is a drive


def input_path(text: str) -> Path:
    """The path of a file. Raises typer.BadParameter for a URL of another kind."""
    found = None if Path(text).exists() else _URL.match(text)
    if found is None:
        return Path(text)
    scheme = found[1].lower()
    url = urlsplit(text)
    if scheme == "file" and url.netloc in ("", "localhost"):
        return Path(unquote(url.path))
    if "://" in text:
        raise typer.BadParameter(f"expected the path of a file, file://PATH, or - for standard input, got {text!r:.80}")
    return Path(text)
