"""Thalweg: online learners that keep learning from a log of events while they answer predictions.

The packages are links to the folders beside this one: `thalweg.stream.log` is `stream/log/`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Evaluation", "FrameError", "Model", "__version__", "evaluate", "load"]

_HOMES = {
    "Model": "thalweg.ops.notebook.model",
    "FrameError": "thalweg.ops.notebook.values",
    "evaluate": "thalweg.ops.notebook.model",
    "Evaluation": "thalweg.ops.notebook.evaluation",
    "load": "thalweg.ops.notebook.model",
}
"""Names of the notebook, by the module that has them: loaded when they are asked for."""


def __getattr__(name: str) -> Any:  # looked up when asked for: reading metadata costs more than the rest of this import
    if name == "__version__":
        from importlib.metadata import version

        return version("thalweg")
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
