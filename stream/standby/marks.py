"""Whose state a shard's folder holds: that of an owner, or a copy of what the object store has."""

from __future__ import annotations

import json
from pathlib import Path

from thalweg.memory.files import make_folder, sync_folder, write_durably

GENERATION_FILE = "generation"
"""In a model's folder: the last generation under which this folder owned the model."""
COPIED_FILE = "copied"
"""In a shard's folder while it is only a copy: the generation of the state that was copied."""


def kept_generation(folder: Path) -> int:
    """The last generation under which a model's folder owned the model; 0: it never has."""
    return _read(folder / GENERATION_FILE) or 0


def copied_generation(folder: Path) -> int | None:
    """The generation of the state that a folder is a copy of; None if it is no copy."""
    return _read(folder / COPIED_FILE)


def mark_owned(folder: Path, generation: int) -> None:
    """The folder is that of an owner of this generation from now on. Raises OSError."""
    _write(folder, GENERATION_FILE, generation)
    (folder / COPIED_FILE).unlink(missing_ok=True)
    sync_folder(folder)


def mark_copied(folder: Path, generation: int) -> None:
    """The folder is a copy from now on. Raises OSError."""
    _write(folder, COPIED_FILE, generation)
    (folder / GENERATION_FILE).unlink(missing_ok=True)
    sync_folder(folder)


def _read(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(folder: Path, name: str, generation: int) -> None:
    make_folder(folder)
    beside = folder / f".{name}"
    write_durably(beside, json.dumps(generation).encode())
    beside.rename(folder / name)
