"""A plot of metrics over a stream, for the demo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console


def draw_curves(
    console: Console,
    path: Path,
    title: str,
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    colors: Mapping[str, str],
    marks: Mapping[int, str],
) -> None:
    """Plot named curves of (x, values), the first one thicker, and marks at x; print the file's path."""
    try:
        _draw(path, title, curves, colors, marks)
    except (ImportError, OSError) as error:
        console.print(f"no picture: {error}; for one run: pip install 'thalweg[report]'", highlight=False)
    else:
        console.print(f"picture: {path}", highlight=False)


def _draw(
    path: Path,
    title: str,
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    colors: Mapping[str, str],
    marks: Mapping[int, str],
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained", dpi=120)
    figure.suptitle(title, x=0.02, ha="left", fontsize=13)
    for number, (name, (places, values)) in enumerate(curves.items()):
        axes.plot(places, values, color=colors[name], linewidth=1.4 if number else 2)
    below, bottom, top = float("-inf"), *axes.get_ylim()
    for name in sorted(curves, key=lambda name: curves[name][1][-1]):  # labels from the bottom up, without overlap
        places, values = curves[name]
        below = max(values[-1], below + 0.05 * (top - bottom))
        told = f" {name} {values[-1]:.2f}"
        axes.annotate(told, (places[-1], below), color=colors[name], va="center", annotation_clip=False)
    for place, text in marks.items():
        axes.axvline(place, color="#5b6770", linewidth=1, linestyle=":")
        low = (place, 0.02)
        axes.annotate(f"{text} ", low, xycoords=("data", "axes fraction"), color="#5b6770", ha="right")
    axes.set_xlabel("events")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.0)
    axes.set_xlim(0, max(places[-1] for places, _ in curves.values()) * 1.2)
    axes.grid(axis="y", color="#e3e6e8")
    figure.savefig(path)
    plt.close(figure)
