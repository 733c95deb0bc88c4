"""What a benchmark found, beside what was aimed for, and a table of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured figure."""

    name: str
    """What was measured, a full phrase: `learn, D = 1024, against bare BLAS`."""

    value: float

    unit: str
    """`×`, `%`, `events/s`, `ms` …"""

    target: str | None = None
    """What is aimed for, as text: `≤ 1.5`; None for a figure that only informs."""

    met: bool | None = None
    """Whether the target is reached; None without a target."""

    note: str = ""
    """How it was measured, or why it misses; short."""


def at_least(name: str, value: float, unit: str, bound: float, note: str = "") -> Result:
    """A figure that should be `bound` or more."""
    return Result(name=name, value=float(value), unit=unit, target=f"≥ {bound:g}", met=bool(value >= bound), note=note)


def at_most(name: str, value: float, unit: str, bound: float, note: str = "") -> Result:
    """A figure that should be `bound` or less."""
    return Result(name=name, value=float(value), unit=unit, target=f"≤ {bound:g}", met=bool(value <= bound), note=note)


def left_out(name: str, why: str) -> Result:
    """A figure that cannot be had here; the reason says what is missing and how to get it."""
    return Result(name=name, value=float("nan"), unit="", note=f"left out: {why}")


def median_seconds(action: Callable[[], Any], rounds: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(rounds):
        started = perf_counter()
        action()
        times.append(perf_counter() - started)
    return median(times)


def show(title: str, results: Sequence[Result]) -> None:
    """Print the figures as a table; a miss says so in words, not only in colour."""
    table = Table(title=title, title_justify="left")
    for heading, right in (
        ("figure", False),
        ("value", True),
        ("target", True),
        ("", False),
        ("note", False),
    ):
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    verdicts = {None: "", True: "[green]met", False: "[red]missed"}
    for result in results:
        value = f"{result.value:,.0f}" if abs(result.value) >= 1000 else f"{result.value:.4g}"
        table.add_row(result.name, f"{value} {result.unit}", result.target or "", verdicts[result.met], result.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
