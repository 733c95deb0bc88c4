"""The layouts of states in `noted_layouts.json`, which `python -m tests.models.contract.noted_layouts` writes anew."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import thalweg
from tests.samples import sample
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.layouts import AROUND
from thalweg.models.contract.registry import BUILT_IN, find
from thalweg.ops.config.config import load
from thalweg.ops.run.app import new_learner

NOTED = Path(__file__).with_name("noted_layouts.json")
PARTS = (*sorted(BUILT_IN), "columns", "tune")
_VARIANTS = "[model.tune]\nvariants = 2\nparams.shrinkage = [0.1, 0.5]\n"
_COLUMNS = {"amount": "numeric", "kind": "categorical", "note": "text", "at": "datetime", "seen": "boolean"}


def layout(part: str) -> dict[str, Any]:
    """Version and revision of a learner, or of what stands around one, with the arrays and the meta of its state after
    some events.
    """
    if part in AROUND:
        state, numbers = _of_columns() if part == "columns" else _learned("nearest_mean", _VARIANTS), AROUND[part]
    else:
        factory: Any = find(part)
        state, numbers = _learned(part), (factory.state_version, factory.state_revision)
    arrays = {name: f"{array.dtype} {array.ndim}" for name, array in sorted(state.tensors.items())}
    return {"layout": list(numbers), "arrays": arrays, "meta": sorted(_keys(state.meta))}


def _learned(name: str, more: str = "") -> State:
    given = sample(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thalweg.toml"
        head = f'[service]\nstate_dir = "{folder}"\n[[model]]\nname = "m"\ntopic = "m.events"\n'
        path.write_text(f"{head}{given.configuration}\n{more}")
        learner = new_learner(load(path, {}).model[0])
    for first in range(0, 300, 50):
        learner.learn(given.events(50, first))
    return learner.state()


def _of_columns() -> State:
    model = thalweg.Model("nearest_mean", columns=_COLUMNS)
    rows = [
        {
            "amount": i % 7,
            "kind": f"k{i % 3}",
            "note": f"a note of {i % 5}",
            "at": f"2026-01-{1 + i % 28:02}",
            "seen": i % 2,
        }
        for i in range(100)
    ]
    model.learn(rows, [f"c{i % 2}" for i in range(100)])
    return model._fold.learner.state()


def _keys(meta: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in meta.items():
        found += _keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return found


if __name__ == "__main__":
    NOTED.write_text(json.dumps({part: layout(part) for part in PARTS}, indent=1) + "\n")
