"""Modules of the user's own, beside the configuration: found by every process alike, and never instead of others. With
a list of those that are allowed, no other is imported.

The folder stands at the end of the import path. A file such as `random.py`, `select.py` or `river.py` beside the
configuration thus takes no library's place, neither in our processes nor in those they start.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

_folders: list[str] = []
"""The folder of the configuration that was read last, if it is on the import path because of it."""


_allowed: list[tuple[str, ...] | None] = [None]
"""The modules that a configuration may name; None: any."""
_OURS = ("thalweg", "river", "sklearn")
"""The service itself and the libraries of its adapters, which are imported anyway."""


def allow(modules: Iterable[str] | None) -> None:
    """Let a configuration name these modules and those within them, and no others; None: any."""
    _allowed[0] = None if modules is None else tuple(modules)


def not_allowed(module: str) -> str:
    """Why a module must not be imported, before it is; empty if it may be."""
    allowed = _allowed[0]
    if allowed is None or any(module == one or module.startswith(f"{one}.") for one in (*allowed, *_OURS)):
        return ""
    return f"module {module!r} is not imported: it is not in service.allowed_modules, {list(allowed)}"


def from_elsewhere(found: object) -> str:
    """Why a class or function that a name led to must not be used: it is of a module that is not allowed, which an
    allowed one imports. Empty if it may be.
    """
    module = getattr(found, "__module__", None)
    if not (isinstance(found, type) or inspect.isroutine(found)) or not isinstance(module, str):
        return ""
    why = not_allowed(module)
    return why and f"it leads elsewhere: {why}"


def use_folder(folder: Path) -> None:
    """Let modules in this folder be imported that are nowhere else; no longer those of the folder before."""
    for before in _folders:
        if before in sys.path:
            sys.path.remove(before)
    _folders[:] = [] if (text := str(folder.absolute())) in sys.path else [text]
    sys.path.extend(_folders)


def where_looked() -> str:
    """For the message that a module is nowhere: the folders that were looked in, too."""
    folders = ", ".join(_folders)
    return f" (installed packages, PYTHONPATH, and beside the configuration: {folders})" if folders else ""


def taken_name(name: str) -> str:
    """A hint if a module of this name lies beside the configuration, and another one was imported; else empty.

    Args:
        name: The module, whose first part counts.
    """
    first = name.partition(".")[0]
    ours = PathFinder.find_spec(first, _folders) if _folders else None
    loaded = sys.modules.get(first)
    file = getattr(loaded, "__file__", None)
    if ours is None or ours.origin is None or loaded is None or file == ours.origin:
        return ""
    other = file or "a module built into Python"
    return f"; {first!r} is {other}, which takes precedence over {ours.origin}: give yours another name"
