"""What a replay says of figures that rest on few events: their bounds."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.ops.replay.replay import Replayed
from thalweg.stream.evaluation.figures.bounds import Bound
from thalweg.stream.evaluation.figures.text import figure_text

WIDE = 0.1
"""Width of a 95 % confidence interval from which on it is told."""
_METRICS = ("auc", "balanced_accuracy")
"""Those that a few events of a rare label decide, however many others there are."""


def unsure_text(done: Replayed) -> list[str]:
    """A sentence for each figure with a wide interval; none: all rest on enough events."""
    sides: dict[str, Mapping[str, Bound]] = {
        "all": done.evaluation.bounds(),
        f"last {done.model.window_events:,}": done.evaluation.recent_bounds(),
        "frozen": done.frozen.bounds(),
    }
    found = []
    for metric in _METRICS:
        wide = {side: bound[metric] for side, bound in sides.items() if metric in bound and _is_wide(bound[metric])}
        if wide:
            shown = ", ".join(f"{side} {figure_text(low)} to {figure_text(high)}" for side, (low, high) in wide.items())
            found.append(f"95 % CI of {metric}, which rests on few events of a label: {shown}")
    return found


def _is_wide(bound: Bound) -> bool:
    return bound[1] - bound[0] > WIDE
