"""The picture of a replay: what is far beyond all else does not set its axis."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt

from thalweg.ops.config.config import parse
from thalweg.ops.replay.replay import Replayed, replay
from thalweg.ops.replay.report import draw


def replayed(path: Path, count: int, absurd: int | None, frozen_after: int | None = None) -> Replayed:
    """Of a sum of four numbers, with forty labels of 1e99: so many that no figure leaves them out."""
    rows = np.random.default_rng(0).normal(size=(count, 4)).tolist()
    wrong = [] if absurd is None else range(absurd, absurd + 120, 3)
    labels = [1e99 if number in wrong else sum(row) for number, row in enumerate(rows)]
    lines = [json.dumps({"inputs": {"x": row}, "label": label}) for row, label in zip(rows, labels)]
    path.write_text("\n".join([*lines, ""]))
    table = {"name": "m", "learner": "ridge", "topic": "t", "batch_events": 16, "inputs": {"x": {"shape": [4]}}}
    params = {"expansion": 8, "task": "regression"}
    return replay(parse({"model": [{**table, "params": params}]}, "f", {}).model[0], path, frozen_after=frozen_after)


def drawn(done: Replayed, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The axes of quality."""
    figures: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(plt, "close", figures.append)
        draw(done, io.BytesIO())
    plt.close(figures[0])
    return figures[0].axes[0]


def outside(done: Replayed) -> int:
    settled = min(1000, done.events) // 10
    curves = [point for curve in (done.curve, done.frozen_curve) for point in curve if point["events"] >= settled]
    return sum(point["metrics"].get("rmse", 0.0) > 1e90 for point in curves)


@pytest.mark.parametrize(("count", "absurd"), [(1000, 200), (1000, 500), (3000, 1000)])
def test_absurd_labels_do_not_set_the_axis_and_the_points_outside_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, absurd: int
) -> None:
    done = replayed(tmp_path / "s.jsonl", count, absurd)

    axes = drawn(done, monkeypatch)

    assert axes.get_ylim()[1] < 5
    assert axes.get_xlabel() == f"{outside(done)} points lie outside, far beyond the others"
    ends = [text for text in axes.texts if "drift" not in text.get_text()]
    assert len(ends) == 2
    assert all(text.get_text().endswith("↑") == (count == 1000) for text in ends)


def test_the_labels_at_the_ends_of_two_equal_curves_do_not_overprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = replayed(tmp_path / "s.jsonl", 300, None, frozen_after=300)
    assert done.frozen_curve == done.curve

    axes = drawn(done, monkeypatch)

    low, high = sorted(text.get_window_extent().y0 for text in axes.texts)
    assert high - low > 11 * axes.figure.dpi / 72
    assert axes.get_xlabel() == ""
