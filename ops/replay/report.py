"""The report of a replay: `report.json`, and its picture `report.png`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.capabilities import IntensityCurves, capability
from thalweg.ops.replay.replay import Replayed
from thalweg.proto.bounds.counted import counted
from thalweg.stream.evaluation.figures.text import figure_text

_SHOWN = (
    "log_likelihood",
    "accuracy",
    "rmse",
    "log_loss",
    "mae",
)  # the first available one is drawn
_TYPES = ("#0b6e99", "#b3541e", "#3b7d4f", "#8a5a9e", "#b8952c")
_SCALES = (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
_LEARNING, _FROZEN, _TIME = "#0b6e99", "#b3541e", "#5b6770"
_DRIFT = "#8a5a9e"
_FAR = 1e3  # times the median of a curve's points: such points do not set the axis
_FAR_FOR_MOST, _LEAST_USUAL = 1e6, 0.05  # the same where most points are far: times the size that so many do not reach
_LABEL_POINTS = 12.0  # between the two labels at the curves' ends


class NoMatplotlib(Exception):
    """The picture needs matplotlib, which is not installed; the message gives the command to install it."""


def write_report(done: Replayed, folder: Path) -> list[Path]:
    """Write the files into a folder, which is created if needed; returns the paths. For event sequences there is a
    third file, `intensity.png`: the predicted intensity of one key's next events, between its latest ones.

    Raises:
        NoMatplotlib: `report.json` was written, but the picture cannot be.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "report.json"
    record.write_text(json.dumps(_finite(done.report()), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise NoMatplotlib(
            f"{record} is written; the picture needs matplotlib: pip install 'thalweg[report]'"
        ) from error
    mpl.use("Agg")
    picture = folder / "report.png"
    draw(done, picture)
    return [record, picture, *_draw_intensity(done, folder / "intensity.png")]


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON does not support."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def draw(done: Replayed, path: Path | IO[bytes]) -> None:
    """Draw the picture, as PNG. Needs matplotlib."""
    from matplotlib import pyplot as plt

    shown = next((name for name in _SHOWN if any(name in point["metrics"] for point in done.curve)), None)
    figure, (quality, cost) = plt.subplots(
        2, 1, figsize=(9, 6.5), sharex=True, height_ratios=[2.4, 1], layout="constrained", dpi=120
    )
    title = f"{done.model.name}: {done.model.learner}, {counted(done.events, 'event')}"
    title += f" at {done.events / done.seconds:,.0f}/s"
    figure.suptitle(title, x=0.02, ha="left", fontsize=13, fontweight="bold")
    if shown is not None:
        settled = min(done.model.window_events, done.events) // 10  # before, a figure rests on few events
        for curve, color, label in (
            (done.frozen_curve, _FROZEN, f"frozen after {counted(done.frozen_after, 'event')}"),
            (done.curve, _LEARNING, "learning"),
        ):
            points = [(p["events"], p["metrics"][shown]) for p in curve if shown in p["metrics"]]
            points = [point for point in points if point[0] >= settled] or points[-1:]
            quality.plot(*zip(*points), color=color, lw=1.8, label=label)
        if outside := _without_extremes(quality):
            verb = "lies" if outside == 1 else "lie"
            quality.set_xlabel(f"{counted(outside, 'point')} {verb} outside, far beyond the others", fontsize=8)
        _label_ends(quality, quality.get_lines())
        quality.axvline(done.frozen_after, color=_FROZEN, lw=0.8, ls=":")
        quality.set_ylabel(f"{shown.replace('_', ' ')}, last {counted(done.model.window_events, 'event')}")
        quality.legend(frameon=False, loc="best")
    _mark_drift(quality, done)
    cost.plot(*zip(*done.learn_times), color=_TIME, lw=1.2)
    cost.set_ylabel("learning, µs an event")
    cost.set_ylim(bottom=0)
    cost.set_xlabel("events")
    for axes in (quality, cost):
        _plain(axes)
    figure.savefig(path, format="png")
    plt.close(figure)


def _without_extremes(axes: Any) -> int:
    """Leave out of the axis what is far beyond all else, as a recent figure is while it holds absurd labels; returns
    how many points lie outside."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.get_lines()])
    far = _far(drawn)
    usual = drawn[~far & np.isfinite(drawn)]
    if not far.any() or not usual.size:
        return 0
    low, high = float(usual.min()), float(usual.max())
    room = 0.05 * (high - low or abs(high) or 1.0)
    axes.set_ylim(low - room, high + room)
    return int(far.sum())


def _far(drawn: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points are far beyond the others; the window may hold the absurd event at most of them."""
    sizes = np.abs(drawn)
    known = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not known.size:
        return np.isinf(drawn)
    far: NDArray[np.bool_] = sizes > _FAR * np.median(known)
    return far if far.any() else sizes > _FAR_FOR_MOST * np.quantile(known, _LEAST_USUAL)


def _label_ends(axes: Any, lines: Sequence[Any]) -> None:
    """The last figure of each curve at its end, at the edge with an arrow if it lies outside; never over each other."""
    low, high = axes.get_ylim()
    ends = [(line.get_xdata()[-1], float(line.get_ydata()[-1]), line.get_color()) for line in lines]
    ends = sorted((end for end in ends if math.isfinite(end[1])), key=lambda end: end[1])
    places = [min(max(value, low), high) for _, value, _ in ends]
    points = [axes.transData.transform((0, place))[1] * 72 / axes.figure.dpi for place in places]
    apart = max(0.0, _LABEL_POINTS - (points[-1] - points[0])) / 2 if len(ends) > 1 else 0.0
    for (at, value, color), place, shift in zip(ends, places, (-apart, apart)):
        arrow = "" if place == value else " ↑" if value > place else " ↓"
        style = {"textcoords": "offset points", "color": color, "va": "center"}
        axes.annotate(figure_text(value) + arrow, (at, place), xytext=(5, shift), **style)


def _mark_drift(axes: Any, done: Replayed) -> None:
    """A band from the start of each change to the end of its alarm, with the detector that raised it."""
    for alarm in done.alarms:
        end = done.events if alarm.end is None else alarm.end
        axes.axvspan(alarm.since, max(end, alarm.start), color=_DRIFT, alpha=0.18, lw=0)
        axes.axvline(alarm.start, color=_DRIFT, lw=0.9)
        what = alarm.features[0][0] if alarm.kind == "inputs" and alarm.features else alarm.signal
        place = (alarm.start, 1.0)
        style = {"color": _DRIFT, "fontsize": 8, "va": "bottom", "ha": "center"}
        axes.annotate(f"drift {alarm.number}: {what}", place, xycoords=("data", "axes fraction"), **style)


def _draw_intensity(done: Replayed, path: Path) -> list[Path]:
    from matplotlib import pyplot as plt

    predictor = done.learner.predictor()
    curves = capability(predictor, IntensityCurves)
    if curves is None or not done.latest_keys:
        return []
    key = done.latest_keys.most_common(1)[0][0]
    course = curves.course(key)
    if course is None:
        return []
    span = course.times[-1] - course.times[0]
    name, seconds = next(((n, s) for n, s in _SCALES if span > 3 * s), _SCALES[-1])
    figure, (rates, events) = plt.subplots(
        2, 1, figsize=(9, 5.5), sharex=True, height_ratios=[2.4, 1], layout="constrained", dpi=120
    )
    figure.suptitle(
        f"{done.model.name}: predicted intensities of key {key.decode(errors='replace')[:40]}",
        x=0.02,
        ha="left",
        fontsize=13,
        fontweight="bold",
    )
    at, came = (course.times - course.times[0]) / seconds, (course.event_times - course.times[0]) / seconds
    rates.plot(at, course.rates.sum(axis=1) * seconds, color=_TIME, lw=1.2, label="any type")
    shown = np.argsort(-np.bincount(course.event_types, minlength=len(predictor.classes)), kind="stable")[:5]
    for row, (kind, color) in enumerate(zip(shown.tolist(), _TYPES)):
        rates.plot(at, course.rates[:, kind] * seconds, color=color, lw=1.2, label=predictor.classes[kind])
        here = course.event_types == kind
        events.plot(came[here], np.full(here.sum(), row), "|", color=color, ms=11, mew=1.6)
    others = ~np.isin(course.event_types, shown)
    if others.any():
        events.plot(came[others], np.full(others.sum(), len(shown)), "|", color=_TIME, ms=11, mew=1.6)
    names = [predictor.classes[kind] for kind in shown.tolist()] + ["others"] * bool(others.any())
    events.set_yticks(range(len(names)), names)
    events.set_ylim(len(names) - 0.5, -0.5)
    rates.set_yscale("log")
    usual = np.percentile(course.rates.sum(axis=1), [5, 99]) * seconds
    rates.set_ylim(usual[0] / 30, usual[1] * 3)
    rates.set_ylabel(f"intensity, events per {name}")
    rates.legend(frameon=False, loc="upper right", ncols=3, fontsize=8)
    events.set_xlabel(f"{name}s, over its latest {counted(len(came), 'event')}")
    for axes in (rates, events):
        _plain(axes)
    figure.savefig(path)
    plt.close(figure)
    return [path]


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e6e8", lw=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.02)
