"""The demo's second stream: clicks in a shop whose items lose their popularity overnight, and a memory that adapts.

Users have tastes, items have qualities, and the qualities of a fifth of the items flip after two thirds of the
stream. The error memory's score is compared with that of its own network, which learns from the same events,
and with the same model frozen before the flip.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from thalweg.models.contract.learner import Predictor
from thalweg.ops.demo.pace import Pace
from thalweg.ops.demo.picture import draw_curves
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.encode import to_json
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Array
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.log.log import Log, Message
from thalweg.stream.publication.file_channel import FileSubscriber

NAME, TOPIC = "clicks", "clicks.events"
MODEL = f"""
[[model]]
name = "{NAME}"
learner = "error_memory"
topic = "{TOPIC}"
batch_events = 8
snapshot_events = 5000
ready_after_events = 0
inputs.user = {{ shape = [], dtype = "int64" }}
inputs.item = {{ shape = [], dtype = "int64" }}
"""
RATE = 800.0
"""Events per second."""
FLIP_SHARE = 0.67
"""Fraction of the stream after which a fifth of the items flip."""
_STEP = 20
_FROZEN_SHARE = 0.6
_WINDOW = 1000
_USERS, _ITEMS, _TASTES = 400, 150, 3
_COLORS = {"memory": "#0b6e99", "network alone": "#8a7f00", "frozen": "#b3541e"}


@dataclass
class _Seen:
    """Quality of each way of predicting."""

    graded: dict[str, Prequential] = field(default_factory=lambda: {name: Prequential(_WINDOW) for name in _COLORS})
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _COLORS})
    places: list[int] = field(default_factory=list)
    flipped: int = 0
    """Event at which items flip."""
    before: dict[str, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0


def clicks(count: int, seed: int = 0) -> Iterator[tuple[Batch, bool]]:
    """Events in steps, and whether items have flipped by then."""
    random = np.random.default_rng(seed)
    user_taste, item_taste = random.normal(0, 1, (_USERS, _TASTES)), random.normal(0, 1, (_ITEMS, _TASTES))
    quality = random.normal(0, 2.0, _ITEMS)
    turning = random.random(_ITEMS) < 0.2
    popularity = 1.0 / (5 + np.arange(_ITEMS))
    for start in range(0, count, _STEP):
        user = random.integers(0, _USERS, _STEP)
        item = random.choice(_ITEMS, _STEP, p=popularity / popularity.sum())
        liking = quality[item] + (user_taste[user] * item_taste[item]).sum(axis=1)
        turned = start >= FLIP_SHARE * count
        liking = np.where(turned & turning[item], -liking, liking)
        label = random.random(_STEP) < 1 / (1 + np.exp(-liking))
        yield (
            Batch(
                {"user": user, "item": item},
                NumberLabels(label[:, None].astype(np.float64)),
                np.ones(_STEP),
                np.full(_STEP, time.time()),
                [f"click-{start + row}" for row in range(_STEP)],
            ),
            turned,
        )


def stream(console: Console, log: Log, published: FileSubscriber, stub: Any, count: int) -> _Seen:
    """Predict, then send the labels, as for the digits."""
    seen, twin = _Seen(), None
    pace = Pace(RATE, [published])
    for step, (batch, turned) in enumerate(clicks(count)):
        number = (step + 1) * _STEP
        _ask(stub, batch[:1], seen)
        served = published.current
        if served is not None:
            if twin is None and number > _FROZEN_SHARE * count:
                twin = served.predictor
            _grade(seen, batch, served.predictor, twin or served.predictor)
        if turned and not seen.flipped:
            seen.flipped = number
            seen.before = {name: one.recent().get("auc", 0.0) for name, one in seen.graded.items()}
            console.print("  a fifth of the items turn into their opposite", highlight=False)
        log.append(TOPIC, [Message(value) for value in to_json(batch)])
        seen.places.append(number)
        for name, one in seen.graded.items():
            seen.curves[name].append(one.recent().get("auc", float("nan")))
        if step % max(1, count // _STEP // 8) == 0 and step:
            figures = "  ".join(f"{name} {curve[-1]:.2f}" for name, curve in seen.curves.items())
            console.print(f"{pace.seconds:5.1f} s  clicks   AUC, last {_WINDOW}: {figures}", highlight=False)
        pace.wait(number)
    seen.seconds = pace.seconds
    return seen


def _ask(stub: Any, one: Batch, seen: _Seen) -> None:
    request = pb.ModelInferRequest(model_name=NAME)
    for name, column in one.inputs.items():
        request.inputs.add(name=name, datatype="INT64", shape=[1])
        request.raw_input_contents.append(column.tobytes())
    before = time.perf_counter()
    stub.ModelInfer(request)
    seen.latencies.append(time.perf_counter() - before)


def _grade(seen: _Seen, batch: Batch, learning: Predictor, frozen: Predictor) -> None:
    now, then = learning.predict(batch.inputs), frozen.predict(batch.inputs)
    scores: dict[str, Array] = {"memory": now["score"], "network alone": now["base_score"], "frozen": then["score"]}
    for name, column in scores.items():
        seen.graded[name].predicted(batch, learning, {"score": column})


def report(console: Console, seen: _Seen, folder: Path) -> None:
    """A table of the flip, and a plot in `folder` if matplotlib is installed."""
    table = Table("clicks", "AUC before the flip", "worst after it", "at the end", "log-loss", box=None)
    at = seen.places.index(seen.flipped) if seen.flipped else 0
    for name, one in seen.graded.items():
        after = [value for value in seen.curves[name][at:] if value == value]
        table.add_row(
            name,
            f"{seen.before.get(name, float('nan')):.3f}",
            f"{min(after, default=float('nan')):.3f}",
            f"{seen.curves[name][-1]:.3f}",
            f"{one.metrics()['log_loss']:.3f}",
        )
    half, most = np.percentile(seen.latencies, [50, 99]) * 1000
    console.print()
    console.print(table)
    console.print(
        f"AUC of the last {_WINDOW:,} events, each answered before it was learned; the network alone learns from the "
        f"same events. predict p50/p99 {half:.2f} / {most:.2f} ms, {seen.places[-1] / seen.seconds:,.0f} events/s",
        highlight=False,
    )
    settled = 500 // _STEP
    curves = {}
    for name, curve in seen.curves.items():
        first = settled if name != "frozen" else max(settled, int(_FROZEN_SHARE * len(seen.places)))
        curves[name] = seen.places[first:], curve[first:]
    marks = {seen.flipped: "items turn"} if seen.flipped else {}
    title = f"Clicks, of which a fifth turn: AUC of the last {_WINDOW:,} events"
    draw_curves(console, folder / "demo-clicks.png", title, curves, _COLORS, marks)
