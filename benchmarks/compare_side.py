"""One checkout's side of `benchmarks.compare`: runs a benchmark of whatever checkout PYTHONPATH names.

    python -P compare_side.py CHECKOUT NAME SCALE FILE.json

The checkout may be older than this file: its benchmarks may know no scale, only `quick`. Writes a list of name, value,
unit and target. `-P` keeps this folder, where modules have names such as `codecs`, off the import path.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
from pathlib import Path

import structlog


def main(checkout: Path, name: str, scale: str, to: Path) -> None:
    """Run it and write what it found."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    module = importlib.import_module(f"benchmarks.{name}")
    for part in (module, importlib.import_module("thalweg.proto.event")):
        assert Path(str(part.__file__)).resolve().is_relative_to(checkout.resolve()), f"{part.__file__} was imported"
    if "scale" in inspect.signature(module.run).parameters:
        found = module.run(importlib.import_module("benchmarks.scale").Scale(scale))
    elif scale == "tiny":
        raise SystemExit("this checkout's benchmarks have no tiny form")
    else:
        found = module.run(quick=scale == "quick")
    rows = [{"name": one.name, "value": float(one.value), "unit": one.unit, "target": one.target} for one in found]
    to.write_text(json.dumps(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
