"""A comparison as a file: where it goes on after a restart, and what page, metrics and commands show of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from thalweg.memory.files import make_folder, sync_folder, write_durably
from thalweg.stream.comparison.bounds import Bounds
from thalweg.stream.comparison.comparison import ChallengerTest, Comparison
from thalweg.stream.comparison.evidence import Sums


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """A comparison, and how its comparison stands."""

    comparison: Comparison
    loss: str
    """Which loss is compared."""
    time: float
    """When it was written, Unix seconds."""
    waits: str = ""
    """What the comparison waits for; empty while it goes on, or has compared all there is."""
    held: str = ""
    """Why a challenger that is better is not promoted; empty if it is."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Challengers that are not compared, and why."""


def write_comparison(path: Path, report: ComparisonReport) -> None:
    """Replace the file; it survives a power cut once this returns. Raises OSError."""
    make_folder(path.parent)
    known = {**asdict(report), "comparison": comparison_table(report.comparison)}
    beside = path.with_name(f".{path.name}.new")
    write_durably(beside, json.dumps(known).encode())
    beside.replace(path)
    sync_folder(path.parent)


def read_comparison(path: Path) -> ComparisonReport | None:
    """What was written last; None if nothing was.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else; the message names it.
    """
    try:
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path}: expected a comparison, got something else: {error}") from error
    try:
        return ComparisonReport(**{**known, "comparison": comparison_from(known["comparison"])})
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected a comparison of this version: {error}") from error


def comparison_table(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON values."""
    known = asdict(comparison)
    for key in ("low", "high", "centre", "width"):
        known["bounds"][key] = _text(known["bounds"][key])
    known["bounds"]["waiting"] = [_text(loss) for loss in known["bounds"]["waiting"]]
    return known


def comparison_from(known: Mapping[str, Any]) -> Comparison:
    """The comparison of `comparison_table`. Raises TypeError, KeyError or ValueError if it is something else."""
    bounds = dict(known["bounds"])
    for key in ("low", "high", "centre", "width"):
        bounds[key] = float(bounds[key])
    bounds["waiting"] = tuple(float(loss) for loss in bounds["waiting"])
    tests = tuple(ChallengerTest(**{**test, "sums": Sums(**test["sums"])}) for test in known["tests"])
    return Comparison(**{**known, "bounds": Bounds(**bounds), "tests": tests})


def _text(number: float) -> float | str:
    """JSON has no infinity."""
    return number if math.isfinite(number) else str(number)
