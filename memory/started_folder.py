"""The folder in which a service was started: relative paths are in it, also after a plug-in has gone elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

_folder: list[str] = []
"""Empty: nobody has said so, as in a notebook, where paths are in the working directory."""


def start_here() -> None:
    """From now on, relative paths are in the present working directory, whichever it becomes."""
    try:
        _folder[:] = [os.getcwd()]  # noqa: PTH109 - with the links that led to it
    except FileNotFoundError:  # it has been deleted: no relative path leads anywhere
        _folder.clear()


def placed(path: str | Path) -> Path:
    """Where a path leads that a learner opens."""
    return Path(*_folder, path)
