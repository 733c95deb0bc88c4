"""Before and after: the benchmarks of two checkouts in turn, round by round, with the same interpreter.

    python -m benchmarks.compare OTHER_CHECKOUT [NAME …] [--rounds 3] [--quick | --tiny]

A slow moment of the machine then meets both sides. Each benchmark runs in a process of its own, in the folder of its
checkout. A figure is called worse (or better) where the two sides' rounds do not overlap, so that the noise of either
cannot explain it; which way is better says its target, else its unit. A benchmark that one side cannot run is told as
failed, with the last line of its error.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import NAMES
from benchmarks.scale import Scale

HERE = Path(__file__).resolve().parents[1]
FOLDERS = ("proto", "memory", "models", "stream", "ops")
LEAST_ROUNDS = 3
MORE_IS_BETTER, LESS_IS_BETTER = ("events/s", "AUC", "LL"), ("µs", "ms", "s", "MB", "GB", "rows")


@dataclass
class Figure:
    """One row of a benchmark's table, over the rounds."""

    name: str
    unit: str
    target: str | None
    values: list[float] = field(default_factory=list)


@dataclass
class Side:
    """What one checkout measured of one benchmark."""

    figures: dict[str, Figure] = field(default_factory=dict)
    failed: str = ""
    """Why it could not run; the last line of its error."""


class Checkout:
    """A working tree that has `benchmarks/`; its modules are imported as `thalweg`, however old it is."""

    def __init__(self, folder: Path, links: Path) -> None:
        self.folder = folder
        paths = [folder]
        if not (folder / "thalweg").is_dir():  # from before the folder of links was part of the tree
            (links / "thalweg").mkdir(parents=True)
            for name in FOLDERS:
                (links / "thalweg" / name).symlink_to(folder / name)
            paths.insert(0, links)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    def measure(self, name: str, scale: Scale, side: Side) -> None:
        """Run a benchmark once more, unless it failed before."""
        if side.failed:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.json"
            script = Path(__file__).with_name("compare_side.py")
            command = [sys.executable, "-P", str(script), str(self.folder), name, scale.value, str(file)]
            done = subprocess.run(
                command, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                side.failed = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                return
            rows = json.loads(file.read_text())
        for row in rows:
            figure = side.figures.setdefault(row["name"], Figure(row["name"], row["unit"], row["target"]))
            figure.values.append(row["value"])


def paired(before: Side, after: Side) -> list[tuple[Figure | None, Figure | None]]:
    """Figures of the same name; what is left over, in order, where only words have changed: the same unit, as many."""
    pairs: list[tuple[Figure | None, Figure | None]] = []
    old = [figure for name, figure in before.figures.items() if name not in after.figures]
    new = [figure for name, figure in after.figures.items() if name not in before.figures]
    renamed = [figure.unit for figure in old] == [figure.unit for figure in new]
    others = {figure.name: other for figure, other in zip(new, old)} if renamed else {}
    for name, figure in after.figures.items():
        pairs.append((before.figures.get(name) or others.get(name), figure))
    return pairs if renamed else pairs + [(figure, None) for figure in old]


def verdict(before: Figure, after: Figure) -> str:
    """`better`, `worse`, or nothing: where rounds overlap or are fewer than three, or where neither way is better."""
    if min(len(before.values), len(after.values)) < LEAST_ROUNDS:
        return ""
    target = after.target or before.target or ""
    if target.startswith("≥") or (not target and after.unit in MORE_IS_BETTER):
        sign = 1
    elif target.startswith("≤") or (not target and after.unit in LESS_IS_BETTER):
        sign = -1
    else:
        return ""
    old, new = sorted(sign * value for value in before.values), sorted(sign * value for value in after.values)
    if not all(map(math.isfinite, (*old, *new))):
        return ""
    return "better" if new[0] > old[-1] else "worse" if new[-1] < old[0] else ""


def ratios(before: Figure, after: Figure) -> list[float]:
    """After to before, round by round; empty where a figure is not above zero."""
    if min(*before.values, *after.values, math.inf) <= 0:
        return []
    return [new / old for old, new in zip(before.values, after.values)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _row(before: Figure | None, after: Figure | None) -> tuple[str, ...]:
    figure = after or before
    assert figure is not None
    name = figure.name + (f" (was: {before.name})" if before and after and before.name != after.name else "")
    old, new = (_number(median(one.values)) if one else "absent" for one in (before, after))
    if before is None or after is None:
        return name, old, new, figure.unit, "", "", ""
    each = ratios(before, after)
    middle = f"{median(each):.3f}" if each else ""
    spread = f"{min(each):.3f} to {max(each):.3f}" if each else ""
    return name, old, new, figure.unit, middle, spread, verdict(before, after)


def table_of(name: str, before: Side, after: Side) -> Table:
    """One benchmark's figures on both sides."""
    table = Table(title=name, title_justify="left")
    for heading in ("figure", "before", "after", "unit", "after / before", "spread", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "unit", "") else "right", overflow="fold")
    for side, words in ((before, "before"), (after, "after")):
        if side.failed:
            table.add_row(f"{words} failed: {side.failed}")
    for pair in paired(before, after):
        table.add_row(*_row(*pair))
    return table


def main(arguments: Sequence[str]) -> int:
    """The exit code is 1 where a benchmark of this checkout failed or a figure is worse, else 0."""
    parser = ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("other", type=Path, help="the checkout to compare with: how it was before")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or of: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_true")
    scale.add_argument("--tiny", action="store_true", help="to see that all runs; the figures mean nothing")
    given = parser.parse_args(arguments)
    if not (given.other / "benchmarks").is_dir():
        parser.error(f"{given.other} has no folder benchmarks/")
    if unknown := [name for name in given.names if name not in NAMES]:
        parser.error(f"no benchmark is called {unknown[0]!r}; known: {', '.join(NAMES)}")
    console = Console(width=None if sys.stdout.isatty() else 180)
    bad: list[str] = []
    with tempfile.TemporaryDirectory() as links:
        old = Checkout(given.other.resolve(), Path(links) / "old")
        new = Checkout(HERE, Path(links) / "new")
        for name in given.names or NAMES:
            before, after = Side(), Side()
            for number in range(given.rounds):
                turns = [(old, before), (new, after)]
                for checkout, side in turns if number % 2 == 0 else reversed(turns):
                    checkout.measure(name, Scale.asked(arguments), side)
            console.print(table_of(name, before, after))
            bad += [f"{name}: failed here"] if after.failed else []
            pairs = [(a, b) for a, b in paired(before, after) if a is not None and b is not None]
            bad += [f"{name}: {b.name}" for a, b in pairs if verdict(a, b) == "worse"]
    console.print("nothing is worse" if not bad else "worse, beyond the noise of both sides:\n  " + "\n  ".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
