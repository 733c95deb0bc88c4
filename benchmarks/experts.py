"""Experts of the point process: is their mixture as good as the best of them, and what does each cost?"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import multiprocessing  # noqa: E402 - the environment comes first
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor  # noqa: E402
from dataclasses import dataclass, replace  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.event_sequences import Events, stackoverflow, train_and_test  # noqa: E402
from benchmarks.report import Result, at_least, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.memory.vectors.histories import hash_key  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.prompt_tpp.learner import PromptTpp  # noqa: E402
from thalweg.models.prompt_tpp.predictor import KEY  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402

Floats = NDArray[np.float64]
SECONDS = {"stackoverflow": 1.0, "taobao": 10_000.0, "taxi": 3_600.0, "earthquake": 10_000.0}
"""Of the unit of each file."""
TOLERANCE = 0.002
STEPS = 5
"""Events that are predicted ahead."""
_EVERY = 20  # one micro-batch in so many is predicted several steps ahead
_TINY = {"width": 8, "time_width": 4, "window": 8, "unit_gaps": 5, "train_batch": 8, "prompts": 4, "chosen": 2}


@dataclass
class Followed:
    """One pass over a stream with one seed."""

    likelihood: dict[str, float]
    """Mean log-likelihood per graded event in the stream's unit, by expert, and of the `mixture`."""
    error: dict[str, float]
    """Type error."""
    weights: dict[str, float]
    seconds: dict[str, float]
    """Of the processor, taken to learn, per event."""
    ahead: dict[str, tuple[float, float]]
    """Of the next events, by method: type error, median absolute error of the time in units."""


def stream(name: str, events: int | None) -> Events:
    """The stream, or its first events."""
    whole = stackoverflow() if name == "stackoverflow" else train_and_test(name, SECONDS[name])[0]
    part = slice(0, events)
    return replace(whole, keys=whole.keys[part], times=whole.times[part], types=whole.types[part])


def followed(name: str, events: int | None, seed: int, params: dict[str, Any]) -> Followed:
    """Predict, then learn."""
    given = stream(name, events)
    learner = PromptTpp(LearnerContext(inputs=KEY, params=params, seed=seed))
    learner._experts.clock = process_time  # of this process alone, however busy the machine is
    likelihood: dict[str, list[Floats]] = {}
    wrong: dict[str, list[Floats]] = {}
    told: dict[str, list[Floats]] = {"mixture": [], "repeat the history": []}
    following = _following(given)
    for number, (part, batch) in enumerate(given.batches()):
        predictor = learner.predictor()
        unit = predictor.properties["time_unit_seconds"]
        if unit != "unknown":
            assert batch.labels is not None
            codes = batch.labels.codes  # type: ignore[union-attr]
            types = np.array([*map(int, predictor.classes), -1])
            for expert, (logs, likeliest) in predictor.each_alone(batch).items():
                graded = np.isfinite(logs)
                likelihood.setdefault(expert, []).append(logs[graded] + np.log(given.unit / float(unit)))
                wrong.setdefault(expert, []).append((types[likeliest] != codes)[graded])
            if number % _EVERY == 0:
                _look_ahead(given, part, batch, predictor, following, told)
        learner.learn(batch)
    gauges = learner.gauges()
    weights: Any = gauges["expert_weight"]
    seconds: Any = gauges["expert_learn_seconds"]
    return Followed(
        {name: float(np.concatenate(one).mean()) for name, one in likelihood.items()},
        {name: float(np.concatenate(one).mean()) for name, one in wrong.items()},
        {".".join(key): round(value, 3) for key, value in weights.items()},
        {key: value / len(given) for (key,), value in seconds.items()},
        {method: _errors(rows) for method, rows in told.items() if rows},
    )


def _following(events: Events) -> NDArray[np.int64]:
    """Of each event, the row of its key's next one; -1 for none."""
    found = np.full(len(events), -1)
    order = np.argsort(events.keys, kind="stable")
    same = events.keys[order[1:]] == events.keys[order[:-1]]
    found[order[:-1][same]] = order[1:][same]
    return found


def _look_ahead(
    events: Events,
    part: slice,
    batch: Batch,
    predictor: Any,
    following: NDArray[np.int64],
    told: dict[str, list[Floats]],
) -> None:
    """The next events of keys with enough of them before and after, by the model and by repeating the latest ones."""
    keys, firsts = np.unique(events.keys[part], return_index=True)
    rows = part.start + firsts
    chains = [rows]
    while len(chains) < STEPS:
        chains.append(np.where(chains[-1] >= 0, following[chains[-1]], -1))
    ahead = np.stack(chains, axis=1)
    names = np.array([str(key).encode() for key in keys], dtype=object)
    past = predictor._histories.read([hash_key(name) for name in names])
    usable = np.flatnonzero((ahead >= 0).all(axis=1) & (past.lengths > STEPS))
    if not len(usable):
        return
    ahead, past = ahead[usable], past.take(usable)
    times, types = predictor.predict_ahead({"key": names[usable]}, STEPS)
    classes = np.array([*map(int, predictor.classes), -1])
    latest = past.lengths[:, None] - 1 + np.arange(-STEPS, 1)
    stamps, kinds = (np.take_along_axis(column, latest, axis=1) for column in (past.times, past.types))
    repeated = stamps[:, -1:] + np.cumsum(np.diff(stamps, axis=1), axis=1)
    truth = events.types[ahead]
    for method, moments, guessed in (
        ("mixture", times, classes[types]),
        ("repeat the history", repeated, classes[kinds[:, 1:].astype(np.int64)]),
    ):
        missed = np.abs(moments - events.times[ahead]) / events.unit
        told[method].append(np.stack([(guessed != truth).ravel(), missed.ravel()]))


def _errors(rows: list[Floats]) -> tuple[float, float]:
    wrong, missed = np.concatenate(rows, axis=1)
    return float(wrong.mean()), float(np.median(missed))


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def results_of(name: str, runs: list[Followed]) -> list[Result]:
    """Rows of one stream: the mixture beside the best single expert, seed by seed."""
    alone = [expert for expert in runs[0].likelihood if expert != "mixture"]
    found = []
    for expert in (*alone, "mixture"):
        likelihoods, errors = [one.likelihood[expert] for one in runs], [one.error[expert] for one in runs]
        note = f"type error {_spread(errors)}; log-likelihood {_spread(likelihoods)}"
        found.append(Result(name=f"{name}, {expert}", value=float(np.mean(likelihoods)), unit="LL", note=note))
    gained = [one.likelihood["mixture"] - max(one.likelihood[expert] for expert in alone) for one in runs]
    lost = [one.error["mixture"] - min(one.error[expert] for expert in alone) for one in runs]
    weights = "; at the end " + ", ".join(f"{key} {value:g}" for key, value in runs[0].weights.items())
    found.append(
        at_least(
            "… log-likelihood over the best expert, worst seed", min(gained), "", -TOLERANCE, _spread(gained) + weights
        )
    )
    found.append(at_most("… type error over the best expert's, worst seed", max(lost), "", TOLERANCE, _spread(lost)))
    if all(one.ahead.get("mixture") for one in runs):
        for place, (what, unit) in enumerate((("type error", ""), ("median error of the time", "units"))):
            ours, control = ([one.ahead[method][place] for one in runs] for method in ("mixture", "repeat the history"))
            note = f"{_spread(ours)}; repeating the history {_spread(control)}"
            found.append(
                at_most(f"… next {STEPS} events, {what}", float(np.mean(ours)), unit, float(np.mean(control)), note)
            )
    return found


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Every stream with three seeds; `QUICK`: their first events."""
    if not SHARED.is_dir():
        return [no_streams("recorded event sequences")]
    events = scale.of(dict.fromkeys(SECONDS), quick=dict.fromkeys(SECONDS, 10_000), tiny={"taxi": 200})
    seeds = scale.of(range(3), quick=range(3), tiny=range(1))
    params: dict[str, Any] = scale.of({}, quick={}, tiny=_TINY)
    with _workers(scale) as pool:
        jobs = {
            name: [pool.submit(followed, name, count, seed, params) for seed in seeds] for name, count in events.items()
        }
        runs = {name: [job.result() for job in each] for name, each in jobs.items()}
    results = [result for name, each in runs.items() for result in results_of(name, each)]
    costs = [run.seconds for each in runs.values() for run in each]
    for expert in costs[0]:
        value = 1e6 * float(np.median([one[expert] for one in costs]))
        results.append(
            Result(name=f"learning, {expert}", value=value, unit="µs per event", note="histories as they are")
        )
    return results


def _workers(scale: Scale) -> Executor:
    if scale is Scale.TINY:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


if __name__ == "__main__":
    show("experts", run(Scale.asked()))
