"""What a newcomer types first, of the other learners: streams that no default was chosen on, nothing set.

`bottleneck` takes the tables of `newcomers`, `prompt_tpp` made-up sequences beside a Poisson process (the mean gap and
the shares of the types so far), `error_memory` made-up clicks beside the given score, and beside smoothed rates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import thalweg
from benchmarks.report import Result, left_out
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.prompt_tpp.predictor import KEY
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
Table = Callable[[np.random.Generator, int], tuple[dict[str, NDArray[np.generic]], NDArray[np.generic]]]
Gaps = Callable[[np.random.Generator, int, int], tuple[float, str]]
"""The gap to a key's event of this number, in seconds, and its type."""


def of_tables(tables: tuple[Table, ...], rows: int) -> list[Result]:
    """`bottleneck` on each table of classes."""
    found = []
    for table in tables:
        columns, labels = table(np.random.default_rng(4), rows)
        if labels.dtype.kind != "U":
            continue
        report = thalweg.Model("bottleneck").evaluate({**columns, "label": labels}, "label")
        note = ", ".join(f"{name} {100 * one['accuracy']:.4g}" for name, one in report.controls.items())
        name = f"{table.__name__.replace('_', ' ')}: bottleneck, nothing set"
        found.append(Result(name=name, value=100 * report.metrics["accuracy"], unit="%", note=note))
    return found


def at_random(random: np.random.Generator, _key: int, _number: int) -> tuple[float, str]:
    """At random, types at random: nothing can be known but rates."""
    return random.exponential(3600), f"t{random.integers(4)}"


def every_day(random: np.random.Generator, _key: int, number: int) -> tuple[float, str]:
    """Every day at about the same time, in and out in turn."""
    return 86_400 + 900 * random.standard_normal(), ("in", "out")[number % 2]


def work_days(random: np.random.Generator, _key: int, number: int) -> tuple[float, str]:
    """Three times a day, three hours apart."""
    return (10_800, 10_800, 64_800)[number % 3] + 300 * random.standard_normal(), ("lunch", "end", "start")[number % 3]


def heavy_tails(random: np.random.Generator, _key: int, _number: int) -> tuple[float, str]:
    """Gaps of a minute to months."""
    return 60 * (random.pareto(0.7) + 1), f"t{random.integers(3)}"


def at_midnight(random: np.random.Generator, _key: int, _number: int) -> tuple[float, str]:
    """Several at one time, then days later: dates without a time of day."""
    return 86_400.0 * (random.random() < 0.3), f"t{random.integers(3)}"


def own_pace(random: np.random.Generator, key: int, _number: int) -> tuple[float, str]:
    """Each key at its own pace, with its own habits."""
    return random.exponential(60.0 * 2 ** (key % 10)), f"t{(key + (random.random() < 0.2)) % 4}"


PROCESSES: tuple[Gaps, ...] = (at_random, every_day, work_days, heavy_tails, at_midnight, own_pace)


def _sequence(gaps: Gaps, events: int, keys: int = 30) -> Batch:
    random = np.random.default_rng(4)
    rows = []
    for key in range(keys):
        time = 1.7e9 + random.random() * 3600
        for number in range(-(-events // keys)):
            gap, kind = gaps(random, key, number)
            time += max(gap, 0.0)
            rows.append((time, f"k{key}".encode(), kind))
    rows.sort()
    names = tuple(sorted({kind for _, _, kind in rows}))
    codes = np.array([names.index(kind) for _, _, kind in rows], dtype=np.int32)
    whole = np.array([key for _, key, _ in rows], dtype=object)
    return Batch({"key": whole}, ClassLabels(codes, names), np.ones(len(rows)), np.array([time for time, *_ in rows]))


def of_sequences(events: int) -> list[Result]:
    """`prompt_tpp` on each process: log-likelihood per event, and the Poisson process's on the same events."""
    found = []
    for process in PROCESSES:
        batch = _sequence(process, events)
        learner = PromptTpp(LearnerContext(inputs=KEY, params={}, seed=0))
        own, simple, answered = [], [], Counter[bool]()
        total, count = 0.0, 0
        kinds: Counter[int] = Counter()
        assert isinstance(batch.labels, ClassLabels)
        for start in range(0, len(batch), 64):
            part = batch[start : start + 64]
            assert isinstance(part.labels, ClassLabels)
            predictor = learner.predictor()
            said = predictor.predict_events(part)
            named = np.array([*predictor.classes, ""])[said["next_type"]]
            gaps = part.times - said["last_time"]
            for row in np.flatnonzero(np.isfinite(said["next_time"])).tolist():
                code = int(part.labels.codes[row])
                answered[named[row] == part.labels.names[code]] += 1
                if np.isfinite(said["log_likelihood"][row]) and kinds[code] and gaps[row] > 0:
                    unit = float(predictor.properties["time_unit_seconds"])
                    mean = total / count / unit
                    own.append(said["log_likelihood"][row])
                    simple.append(math.log(kinds[code] / kinds.total()) - math.log(mean) - gaps[row] / unit / mean)
            known = np.isfinite(gaps)
            total, count = total + float(gaps[known].sum()), count + int(known.sum())
            kinds.update(part.labels.codes.tolist())
            learner.learn(part)
        most = kinds.most_common(1)[0][1] / kinds.total()
        note = f"a Poisson process {np.mean(simple or [0.0]):.4g}"
        note += f"; types {100 * answered[True] / max(1, answered.total()):.4g} %, the most frequent {100 * most:.4g}"
        name = f"{process.__name__.replace('_', ' ')}: prompt_tpp, log-likelihood"
        if own:
            found.append(Result(name=name, value=float(np.mean(own)), unit="nats", note=note))
        else:
            found.append(left_out(name, "too few events to know the unit of time"))
    return found


def of_clicks(events: int) -> list[Result]:
    """`error_memory` on made-up clicks: AUC, beside the given score's and that of smoothed rates of user and item."""
    found = []
    for kind in ("no score", "calm", "score in percent", "constant score", "by item", "cold items", "a flip"):
        random = np.random.default_rng(4)
        users, items = random.integers(0, 200, events), random.integers(0, 100, events)
        tastes, charms = random.standard_normal((200, 3)), 0.6 * random.standard_normal((100, 3))
        odds = 0.7 * random.standard_normal(200)[users] + random.standard_normal(100)[items]
        odds += (tastes[users] * charms[items]).sum(axis=1)
        score = 1 / (1 + np.exp(-odds - 0.5 * random.standard_normal(events)))
        labels = (random.random(events) < 1 / (1 + np.exp(-odds))).astype(np.float64)
        if kind == "a flip":
            turned = (np.arange(events) > events // 2) & (items < 20)
            labels[turned] = 1.0 - labels[turned]
        order = np.argsort(items, kind="stable") if kind == "by item" else np.arange(events)
        items = np.arange(events) if kind == "cold items" else items
        given = {"no score": np.zeros(events), "constant score": np.full(events, 0.5), "score in percent": 100 * score}
        numbers = given.get(kind, score)[order, None].astype(np.float32)
        inputs = {"user": users[order], "item": items[order], "numeric": numbers}
        labels, score = labels[order], score[order]
        whole = Batch(inputs, NumberLabels(labels[:, None]), np.ones(events), np.arange(float(events)))
        said = _scores(whole)
        rates = _rates(users[order], items[order], labels)
        note = f"smoothed rates {auc(rates, labels):.4g}"
        if kind not in ("no score", "constant score"):
            losses = (log_loss(one, labels) for one in (said, score))
            note = "the given score {:.4g}, {}; log loss {:.4g} and {:.4g}".format(auc(score, labels), note, *losses)
        name = f"{kind}: error_memory, AUC"
        found.append(Result(name=name, value=auc(said, labels), unit="", note=note))
    return found


def _scores(whole: Batch) -> Floats:
    specs = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}
    specs["numeric"] = TensorSpec("numeric", "float32", (1,))
    learner = ErrorMemory(LearnerContext(inputs=specs, params={}, seed=0))
    said = np.zeros(len(whole))
    for row in range(len(whole)):
        one = whole[row : row + 1]
        said[row] = learner.predictor().predict(one.inputs)["score"][0]
        learner.learn(one)
    return said


def _rates(users: NDArray[np.int64], items: NDArray[np.int64], labels: Floats) -> Floats:
    """Log-odds of the smoothed rates so far of user and item, added up."""
    sums: dict[tuple[str, int], Floats] = {}
    whole, said = np.array([0.5, 1.0]), np.zeros(len(labels))
    for row, label in enumerate(labels.tolist()):
        mean = whole[0] / whole[1]
        parts = [("user", int(users[row])), ("item", int(items[row]))]
        rates = [(sums.get(one, np.zeros(2)) + 5 * np.array([mean, 1.0])) for one in parts]
        said[row] = sum(math.log(one[0] / (one[1] - one[0])) for one in rates) - math.log(mean / (1 - mean))
        whole = whole + np.array([label, 1.0])
        for one in parts:
            sums[one] = sums.get(one, np.zeros(2)) + np.array([label, 1.0])
    return said


def auc(scores: Floats, labels: Floats) -> float:
    """Share of pairs in the right order; ties count half."""
    ones, zeros = scores[labels > 0], np.sort(scores[labels == 0])
    if not len(ones) or not len(zeros):
        return math.nan
    below, upto = (np.searchsorted(zeros, ones, side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(zeros))


def log_loss(scores: Floats, labels: Floats) -> float:
    """Mean of -log p."""
    held = np.clip(scores, 1e-6, 1 - 1e-6)
    return float(-np.mean(np.where(labels > 0, np.log(held), np.log(1 - held))))
