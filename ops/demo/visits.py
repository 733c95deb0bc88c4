"""The demo's third stream: the next events of a website's visitors, with habits that change and return.

Each visitor's events excite the next ones, as in a Hawkes process with known parameters: soon after an event of one
type, one of the next type follows. After a while the habits reverse and slow down; later the old ones return.
The log-likelihood per event is compared with that of the true process, the upper bound, and with the same model frozen
before the change, whose histories are still updated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from thalweg.memory.vectors.histories import KeyedHistories, hash_key
from thalweg.models.prompt_tpp.predictor import PromptTppPredictor
from thalweg.ops.demo.pace import Pace
from thalweg.ops.demo.picture import draw_curves
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.encode import to_json
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.log.log import Log, Message
from thalweg.stream.publication.file_channel import FileSubscriber

NAME, TOPIC = "visits", "visits.events"
MODEL = f"""
[[model]]
name = "{NAME}"
learner = "prompt_tpp"
topic = "{TOPIC}"
batch_events = 16
snapshot_events = 5000
ready_after_events = 0
inputs.key = {{ shape = [], dtype = "bytes" }}
params = {{ base = "nhp", train_batch = 16, learning_rate = 0.01, window = 20, max_types = 8 }}
"""
RATE = 400.0
"""Events per second."""
TURNS = (0.4, 0.75)
"""Fractions of the stream after which habits change, and return."""
TYPES = ("arrive", "search", "view", "buy")
_STEP = 16
_WINDOW = 500
_VISITORS, _DECAY = 30, 12.0
_COLORS = {"learning": "#0b6e99", "the truth": "#5b6770", "frozen": "#b3541e"}


class Habits(NamedTuple):
    """A Hawkes process with exponential kernels: base rates, and how much one type excites another."""

    base: NDArray[np.float64]
    """(K,), events per second."""
    excites: NDArray[np.float64]
    """(K, K), row: the type of the event; increase of the rates."""


def habits() -> tuple[Habits, Habits]:
    """The usual habits, and the others."""
    usual, other = np.eye(4)[[1, 2, 3, 0]], np.eye(4)[[3, 0, 1, 2]]
    return (
        Habits(np.array([0.5, 0.05, 0.05, 0.05]), 0.9 * _DECAY * usual),
        Habits(np.array([0.1, 0.1, 0.6, 0.1]), 0.7 * _DECAY * other),
    )


@dataclass
class _Seen:
    """Log-likelihoods by way of predicting, one per event; NaN where there is none."""

    likelihoods: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _COLORS})
    turns: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def window(self, end: int, name: str) -> float:
        """Mean log-likelihood of the events before one."""
        part = np.array(self.likelihoods[name][max(0, end - _WINDOW) : end])
        return float(np.nanmean(part)) if np.isfinite(part).any() else float("nan")


def visits(count: int, seed: int = 0) -> Iterator[tuple[Batch, NDArray[np.float64], int]]:
    """Events in steps, the true log-likelihood of each (NaN: a visitor's first), and how often habits have changed."""
    random = np.random.default_rng(seed)
    regimes = habits()
    now, begin = 0.0, time.time()
    rates = np.zeros((_VISITORS, len(TYPES)))  # excitation, as of each visitor's last event
    last = np.full(_VISITORS, np.nan)
    turned, habit = 0, regimes[0]
    waiting = [(random.exponential(1.0), who) for who in range(_VISITORS)]
    rows: list[tuple[float, int, int, float]] = []
    for number in range(count):
        if turned < len(TURNS) and number >= TURNS[turned] * count:
            turned += 1
            habit = regimes[turned % 2]
            waiting = [(_next(random, habit, rates[who], last[who], now), who) for _, who in waiting]
        now, who = min(waiting)
        since = now - last[who] if last[who] == last[who] else 0.0
        excited = rates[who] * np.exp(-_DECAY * since)
        intensity = habit.base + excited
        kind = int(random.choice(len(TYPES), p=intensity / intensity.sum()))
        compensator = habit.base.sum() * since + (rates[who] - excited).sum() / _DECAY
        truth = np.log(intensity[kind]) - compensator if last[who] == last[who] else np.nan
        rates[who] = excited + habit.excites[kind]
        last[who] = now
        waiting = [pair for pair in waiting if pair[1] != who]
        waiting.append((_next(random, habit, rates[who], now, now), who))
        rows.append((begin + now, who, kind, float(truth)))
        if len(rows) == _STEP:
            times, people, kinds, truths = zip(*rows)
            keys = [f"visitor-{number}" for number in people]
            column = np.empty(_STEP, dtype=object)
            column[:] = [key.encode() for key in keys]
            labels = ClassLabels(np.array(kinds, dtype=np.int32), TYPES)
            ids = [f"visit-{number - row}" for row in range(_STEP)]
            yield Batch({"key": column}, labels, np.ones(_STEP), np.array(times), ids), np.array(truths), turned
            rows = []


def _next(random: np.random.Generator, habit: Habits, rates: Any, last: float, now: float) -> float:
    """Time of the next event, by thinning."""
    while True:
        since = max(0.0, now - last) if last == last else 0.0
        bound = habit.base.sum() + (rates * np.exp(-_DECAY * since)).sum()
        now += random.exponential(1.0 / bound)
        since = max(0.0, now - last) if last == last else 0.0
        if random.random() * bound <= habit.base.sum() + (rates * np.exp(-_DECAY * since)).sum():
            return now


def stream(console: Console, log: Log, published: FileSubscriber, stub: Any, count: int) -> _Seen:
    """Predict, then send the labels, as for the digits."""
    seen, frozen = _Seen(), None
    histories = KeyedHistories(20, _VISITORS)  # the events, for grading: a version is always slightly older
    codes: dict[str, int] = {}
    pace = Pace(RATE, [published])
    for step, (batch, truth, turned) in enumerate(visits(count)):
        number = step * _STEP
        _ask(stub, batch, seen)
        served = published.current
        if turned > len(seen.turns):
            if frozen is None and served is not None:
                frozen = served.predictor
            seen.turns.append(number)
            console.print("  habits turn" if turned == 1 else "  the old habits are back", highlight=False)
        seen.likelihoods["the truth"] += truth.tolist()
        _grade(seen, batch, {"learning": served and served.predictor, "frozen": frozen}, histories)
        _push(histories, batch, codes)
        log.append(TOPIC, [Message(value) for value in to_json(batch)])
        if step % max(1, count // _STEP // 8) == 0 and step:
            figures = "  ".join(f"{name} {_shown(seen.window(number, name))}" for name in _COLORS)
            console.print(
                f"{pace.seconds:5.1f} s  visits   log-likelihood, last {_WINDOW}: {figures}",
                highlight=False,
            )
        pace.wait(number)
    seen.seconds = pace.seconds
    return seen


def _shown(figure: float) -> str:
    return f"{figure:.2f}" if np.isfinite(figure) else "-"  # nothing was learned or frozen yet


def _grade(seen: _Seen, batch: Batch, predictors: dict[str, Any], histories: KeyedHistories) -> None:
    for name, predictor in predictors.items():
        if not isinstance(predictor, PromptTppPredictor) or predictor.properties["time_unit_seconds"] == "unknown":
            seen.likelihoods[name] += [float("nan")] * len(batch)
            continue
        told = predictor.with_histories(histories.frozen()).predict_events(batch)
        unit = float(predictor.properties["time_unit_seconds"])
        seen.likelihoods[name] += (told["log_likelihood"] - np.log(unit)).tolist()  # the density per second


def _push(histories: KeyedHistories, batch: Batch, codes: dict[str, int]) -> None:
    """Add events, types numbered in order of first appearance, as the learner does."""
    assert isinstance(batch.labels, ClassLabels)
    for key, moment, code in zip(batch.inputs["key"], batch.times.tolist(), batch.labels.codes.tolist()):
        histories.push(hash_key(key), moment, codes.setdefault(TYPES[code], len(codes)))


def _ask(stub: Any, batch: Batch, seen: _Seen) -> None:
    key = batch.inputs["key"][0]
    request = pb.ModelInferRequest(model_name=NAME)
    request.inputs.add(name="key", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(key).to_bytes(4, "little") + key)
    before = time.perf_counter()
    stub.ModelInfer(request)
    seen.latencies.append(time.perf_counter() - before)


def report(console: Console, seen: _Seen, folder: Path) -> None:
    """A table of the three parts of the stream, and a plot in `folder` if matplotlib is installed."""
    count = len(seen.likelihoods["the truth"])
    ends = [*seen.turns, count]
    table = Table("visits", "before", "habits turn", "learned", "the old return", "at the end", box=None)
    for name in _COLORS:
        places = [min(ends[0], count), *(min(end, count) for end in (ends[0] + _WINDOW, *ends[1:2]))]
        places += [min(ends[-2] + _WINDOW, count), count]
        figures = [f"{seen.window(place, name):.2f}" for place in places]
        table.add_row(name, *(("-" if figure == "nan" else figure) for figure in figures))
    half, most = np.percentile(seen.latencies, [50, 99]) * 1000
    console.print()
    console.print(table)
    console.print(
        f"log-likelihood per event of the {_WINDOW} events before; no model can beat the truth. "
        f"predict p50/p99 {half:.2f} / {most:.2f} ms, {count / seen.seconds:,.0f} events/s",
        highlight=False,
    )
    curves = {}
    for name in _COLORS:
        points = [(end, seen.window(end, name)) for end in range(_WINDOW, count + 1, _STEP)]
        if name == "frozen" and seen.turns:
            points = [point for point in points if point[0] >= seen.turns[0] + _WINDOW // 5]
        if points := [point for point in points if point[1] == point[1]]:
            curves[name] = [place for place, _ in points], [value for _, value in points]
    marks = dict(zip(seen.turns, ("habits turn", "the old are back")))
    title = f"Visits, whose habits turn and come back: log-likelihood of the last {_WINDOW} events"
    draw_curves(console, folder / "demo-visits.png", title, curves, _COLORS, marks)
