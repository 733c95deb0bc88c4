"""Thalweg: online learners that keep learning from a log of events while they answer predictions.

The packages are links to the folders beside this one: `thalweg.stream.log` is `stream/log/`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:  # looked up when asked for: reading metadata costs more than the rest of this import
    if name == "__version__":
        from importlib.metadata import version

        return version("thalweg")
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
