"""Aliases whose models move between hosts: whichever host that learns records a promotion, it counts everywhere.

Each host tells what it has recorded, and goes on from what goes furthest; those that serve follow. So a promotion
survives the host that it was recorded on, and the next one has the next number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from thalweg.ops.config.config import Config
from thalweg.ops.run.successors import promotions_path
from thalweg.stream.journal.promotions import Promotions

NEWEST_BYTES = 64 << 10
"""Of a file of promotions, which grows by a line with each, the newest lines up to this size are told."""


def shared_aliases(config: Config) -> dict[str, str]:
    """By name of the alias, the model with whose notes it is told: its first champion."""
    moving = {model.name for model in config.model if model.scale is not None}
    return {alias.name: alias.champion for alias in config.alias if moving.intersection(alias.members)}


def recorded_here(config: Config, model: str) -> dict[str, str]:
    """What is recorded on this host of the aliases that are told with this model, by the file's name."""
    found = {}
    for alias, teller in shared_aliases(config).items():
        if teller == model:
            with suppress(OSError, UnicodeDecodeError):
                path = promotions_path(config, alias)
                found[path.name] = newest_lines(path)
    return found


def files_of(note: bytes) -> dict[str, str]:
    """The files that the note of a host has; none if it has none."""
    try:
        return {str(name): str(text) for name, text in json.loads(note).get("files", {}).items()}
    except (ValueError, AttributeError, RecursionError):
        return {}


def adopted(config: Config, recorded: Mapping[tuple[str, str], Mapping[str, str]]) -> list[str]:
    """Go on from what other hosts have recorded where it goes further; the files that did. Raises OSError.

    Args:
        config: The configuration.
        recorded: By model and host, the files that the host tells of.
    """
    changed = []
    for alias, model in shared_aliases(config).items():
        path = promotions_path(config, alias)
        told = [files[path.name].encode() for (of, _), files in recorded.items() if of == model and path.name in files]
        if Promotions(path).adopt(told):
            changed.append(path.name)
    return changed


def newest_lines(path: Path) -> str:
    """The end of a file of lines. Raises OSError, UnicodeDecodeError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - NEWEST_BYTES))
        content = file.read()
    return (content if size <= NEWEST_BYTES else content.partition(b"\n")[2]).decode()
