"""The report of a replay: `report.json`, and `report.png` with what one wants to see of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from thalweg.ops.replay import Replayed

_SHOWN = ("accuracy", "rmse", "log_loss", "mae")  # the first of these that there is goes into the picture
_LEARNING, _FROZEN, _TIME = "#0b6e99", "#b3541e", "#5b6770"


class NoMatplotlib(Exception):
    """The picture needs matplotlib, which is not installed; the message says what to run."""


def write_report(done: Replayed, folder: Path) -> list[Path]:
    """Write both files into a folder, which is made if need be; the paths.

    Raises:
        NoMatplotlib: `report.json` is written, the picture cannot be.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "report.json"
    record.write_text(json.dumps(_finite(done.report()), indent=1, allow_nan=False) + "\n")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise NoMatplotlib(f"{record} is written; for the picture run: pip install 'thalweg[report]'") from error
    mpl.use("Agg")
    picture = folder / "report.png"
    _draw(done, picture)
    return [record, picture]


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(done: Replayed, path: Path) -> None:
    from matplotlib import pyplot as plt

    shown = next((name for name in _SHOWN if any(name in point["metrics"] for point in done.curve)), None)
    figure, (quality, cost) = plt.subplots(
        2, 1, figsize=(9, 6.5), sharex=True, height_ratios=[2.4, 1], layout="constrained", dpi=120
    )
    title = f"{done.model.name}: {done.model.learner}, {done.events:,} events at {done.events / done.seconds:,.0f}/s"
    figure.suptitle(title, x=0.02, ha="left", fontsize=13, fontweight="bold")
    if shown is not None:
        settled = min(done.model.window_events, done.events) // 10  # before, a figure is one of a handful of events
        for curve, color, label in (
            (done.frozen_curve, _FROZEN, f"frozen after {done.frozen_after:,} events"),
            (done.curve, _LEARNING, "learning"),
        ):
            points = [(p["events"], p["metrics"][shown]) for p in curve if shown in p["metrics"]]
            points = [point for point in points if point[0] >= settled] or points[-1:]
            quality.plot(*zip(*points), color=color, lw=1.8, label=label)
            quality.annotate(
                f"{points[-1][1]:.3f}", points[-1], xytext=(5, 0), textcoords="offset points", color=color, va="center"
            )
        quality.axvline(done.frozen_after, color=_FROZEN, lw=0.8, ls=":")
        quality.set_ylabel(f"{shown.replace('_', ' ')}, last {done.model.window_events:,} events")
        quality.legend(frameon=False, loc="best")
    cost.plot(*zip(*done.learn_times), color=_TIME, lw=1.2)
    cost.set_ylabel("learning, µs an event")
    cost.set_ylim(bottom=0)
    cost.set_xlabel("events")
    for axes in (quality, cost):
        _plain(axes)
    figure.savefig(path)
    plt.close(figure)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e6e8", lw=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.02)
