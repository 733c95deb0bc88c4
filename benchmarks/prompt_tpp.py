"""The prompted point process: what it foresees of real streams, what prompts add, and what it costs."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import multiprocessing  # noqa: E402 - the environment comes first
import tempfile  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor  # noqa: E402
from dataclasses import dataclass, replace  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import median  # noqa: E402
from time import perf_counter  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.event_sequences import (  # noqa: E402
    Events,
    closed_form,
    hawkes_with_habits,
    stackoverflow,
    train_and_test,
)
from benchmarks.report import Result, at_least, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.memory.snapshots.state import State, write_state  # noqa: E402
from thalweg.memory.vectors.histories import KeyedHistories, hash_key  # noqa: E402
from thalweg.models.contract.capabilities import predict_batch, with_history  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.parts.adam import Adam  # noqa: E402
from thalweg.models.parts.torch_setup import torch  # noqa: E402
from thalweg.models.prompt_tpp.learner import PromptTpp  # noqa: E402
from thalweg.models.prompt_tpp.network import Past, draw_weights, prepare  # noqa: E402
from thalweg.models.prompt_tpp.params import Params  # noqa: E402
from thalweg.models.prompt_tpp.predictor import KEY, PromptTppPredictor  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402

Floats = NDArray[np.float64]
WINDOWS = 10
ELECTION, AGAIN = 2, 5
"""Windows of the StackOverflow stream in which types occur that occur in no other."""
FLOORS = {"taobao": (0.923, 0.399, 10_000.0), "taxi": (0.387, 0.095, 3_600.0), "earthquake": (-2.114, 0.528, 10_000.0)}
"""Log-likelihood and type error of Markov types and log-normal gaps, fitted on the train split; seconds of the unit."""


_TINY = {"width": 8, "time_width": 4, "window": 8, "unit_gaps": 5, "train_batch": 8, "prompts": 4, "chosen": 2}


@dataclass
class Followed:
    """What was foreseen of a stream, event by event, NaN where nothing could be."""

    likelihood: Floats
    wrong: Floats
    frozen: Floats
    """Log-likelihood by the same, frozen after the first tenth."""
    networks: list[State]
    """As they were at the end of each tenth."""


def followed(events: Events, twin: bool = False, **params: Any) -> Followed:
    """One pass: foresee, then learn."""
    learner = PromptTpp(LearnerContext(inputs=KEY, params=params, seed=0))
    nothing = np.full(len(events), np.nan)
    found = Followed(nothing.copy(), nothing.copy(), nothing.copy(), [])
    ends = np.linspace(events.times[0], events.times[-1], WINDOWS + 1)[1:]
    frozen: Any = None
    for part, batch in events.batches():
        predictor = learner.predictor()
        while len(found.networks) < WINDOWS - 1 and batch.times[0] >= ends[len(found.networks)]:
            found.networks.append(_alone(predictor).state())
        found.likelihood[part], found.wrong[part] = _graded(predictor, batch, events)
        if twin and found.networks:
            frozen = with_history(frozen or predictor, predictor)
            found.frozen[part] = _graded(frozen, batch, events)[0]
        learner.learn(batch)
    found.networks.append(_alone(learner.predictor()).state())
    return found


def _graded(predictor: Any, batch: Batch, events: Events) -> tuple[Floats, Floats]:
    outputs = predict_batch(predictor, batch)
    told = predictor.properties["time_unit_seconds"]
    unit = 1.0 if told == "unknown" else float(told)
    types = np.array([*map(int, predictor.classes), -1])
    assert batch.labels is not None
    wrong = (types[outputs["next_type"]] != batch.labels.codes).astype(float)  # type: ignore[union-attr]
    known = np.isfinite(outputs["next_time"])
    return outputs["log_likelihood"] + np.log(events.unit / unit), np.where(known, wrong, np.nan)


def _alone(predictor: PromptTppPredictor, histories: KeyedHistories | None = None) -> PromptTppPredictor:
    """The network with other histories, of nobody unless told."""
    return predictor.with_histories((histories or KeyedHistories(50, 1)).frozen())


def transfer(events: Events, networks: list[State], windows: NDArray[np.int64]) -> Floats:
    """Mean log-likelihood (windows, windows): of the network after each, on the events of each, one batch in four."""
    histories, made = KeyedHistories(50, 100_000), [PromptTppPredictor.of(one) for one in networks]
    sums, counts = np.zeros((WINDOWS, WINDOWS)), np.zeros(WINDOWS)
    for number, (part, batch) in enumerate(events.batches()):
        if number % 4 == 0:
            window = int(windows[part][0])
            figures = np.stack([_graded(_alone(one, histories), batch, events)[0] for one in made])
            known = np.isfinite(figures).all(axis=0)
            sums[:, window] += figures[:, known].sum(axis=1)
            counts[window] += known.sum()
        for key, time, kind in zip(events.keys[part], events.times[part], batch.labels.codes):  # type: ignore
            code = made[-1].classes.index(str(kind))
            histories.push(hash_key(str(key)), float(time), code)
    return sums / counts


def on_stackoverflow(scale: Scale) -> list[Result]:
    """Window by window against the closed form, a frozen twin, and the same without prompts."""
    events = stackoverflow()
    share = scale.of(1.0, quick=0.3, tiny=0.03)
    if share < 1:
        first = events.times < events.times[0] + share * (events.times[-1] - events.times[0])
        events = replace(events, keys=events.keys[first], times=events.times[first], types=events.types[first])
    start, end = events.times[0], events.times[-1]
    windows = np.minimum(((events.times - start) / (end - start) * WINDOWS).astype(np.int64), WINDOWS - 1)
    graded = ~events.first_of_key()
    small = scale.of({}, quick={}, tiny=_TINY)
    alone = {**small, "base": "nhp"}
    variants: dict[str, dict[str, Any]] = {
        "experts": small,
        "prompts": {"twin": True, **alone},
        "no prompts": {**alone, "prompts": 0},
    }
    with _workers(scale) as pool:
        jobs = {name: pool.submit(followed, events, **settings) for name, settings in variants.items()}
        runs = {name: job.result() for name, job in jobs.items()}
    plain, plain_wrong = closed_form(events, 200.0)
    rows = {
        "closed form": (plain, plain_wrong),
        "one network, frozen after the first tenth": (runs["prompts"].frozen, None),
        "one network without prompts": (runs["no prompts"].likelihood, runs["no prompts"].wrong),
        "one network with prompts": (runs["prompts"].likelihood, runs["prompts"].wrong),
        "defaults": (runs["experts"].likelihood, runs["experts"].wrong),
    }
    later = graded & (windows >= 1)
    pooled: dict[str, float] = {}
    by_window: dict[str, list[float]] = {}
    results = []
    for name, (likelihood, wrong) in rows.items():
        pooled[name] = float(np.nanmean(likelihood[later]))
        by_window[name] = [float(np.nanmean(likelihood[graded & (windows == w)])) for w in range(1, WINDOWS)]
        told = " ".join(f"{value:.2f}" for value in by_window[name])
        error = "" if wrong is None else f"; type error {np.nanmean(wrong[later]):.4f}"
        results.append(Result(name=f"stackoverflow, {name}", value=pooled[name], unit="LL", note=f"{told}{error}"))
    ours, prompted, without = (
        pooled[name] for name in ("defaults", "one network with prompts", "one network without prompts")
    )
    error = float(np.nanmean(runs["experts"].wrong[later]))
    windows_of = {name: by_window[f"one network {name} prompts"] for name in ("with", "without")}
    results += [
        at_least("… log-likelihood per event over windows 1 to 9", ours, "", -2.551, "bar: the closed form"),
        at_most("… type error", error, "", 0.5445),
        at_least("… in the election window 2", by_window["defaults"][ELECTION - 1], "", -2.03),
        at_least("… prompts add to one network", prompted - without, "", 0.0),
    ]
    for window in (ELECTION, AGAIN):
        added = windows_of["with"][window - 1] - windows_of["without"][window - 1]
        results.append(at_least(f"… prompts add in window {window}", added, "", 0.0))
    for name in scale.of(("prompts", "no prompts"), quick=(), tiny=("prompts",)):
        table = transfer(events, runs[name].networks, windows)
        own = np.diag(table)
        backward = float(np.mean(table[-1, :-1] - own[:-1]))
        forward = float(np.mean([table[w - 1, w] - table[0, w] for w in range(2, WINDOWS)]))
        note = f"forward {forward:+.3f} over the network of window 0; at the end on each window " + " ".join(
            f"{value:.2f}" for value in table[-1]
        )
        results.append(Result(name=f"… backward transfer, {name}", value=backward, unit="LL", note=note))
    return results


def _workers(scale: Scale) -> Executor:
    """Of two passes at once; where there is next to nothing to do, no process is worth its start."""
    if scale is Scale.TINY:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def on_the_others(names: Iterable[str] = tuple(FLOORS), last: int | None = None, **params: Any) -> list[Result]:
    """The test split, foreseen and learned after the train split, against floors fitted on that; or its last events."""
    results = []
    for name in names:
        floor, floor_error, seconds = FLOORS[name]
        events, test = train_and_test(name, seconds)
        if last is not None:
            events = replace(events, keys=events.keys[-last:], times=events.times[-last:], types=events.types[-last:])
            test = test[-last:]
        seen = followed(events, **params)
        test = test & ~events.first_of_key()
        results.append(at_least(f"{name}, log-likelihood", np.nanmean(seen.likelihood[test]), "", floor))
        results.append(at_most(f"{name}, type error", np.nanmean(seen.wrong[test]), "", floor_error))
    return results


def throughput(rounds: int, warm_up: int, rows: int) -> list[Result]:
    """Learning, against encoding the history anew for every node of the integral."""
    events = hawkes_with_habits(64 * (warm_up + 4 * rounds), keys=100)
    batches = [batch for _, batch in events.batches()]
    params: list[dict[str, Any]] = [{}, {"base": "nhp"}, {"experts": ["closed_form", "closed_form_fast"]}]
    learners = [PromptTpp(LearnerContext(inputs=KEY, params=one, seed=0)) for one in params]
    for learner in learners:
        for batch in batches[:warm_up]:
            learner.learn(batch)  # histories are full from here on
    taken: list[list[float]] = [[] for _ in learners]
    slow = []
    step = _encoding_per_node(rows)
    for number in range(rounds):
        more = batches[warm_up + 4 * number : warm_up + 4 * number + 4]
        for learner, times in zip(learners, taken):
            started = perf_counter()
            for batch in more:
                learner.learn(batch)
            times.append((perf_counter() - started) / sum(map(len, more)))
        started = perf_counter()
        step()
        slow.append((perf_counter() - started) / rows)
    default, ours, counting = (1 / median(times) for times in taken)
    note = f"{1 / median(slow):.0f} events/s by that reference"
    ratio = median(b / a for a, b in zip(taken[1], slow))
    return [
        Result(name="learning, history of 50", value=default, unit="events/s"),
        Result(name="… by experts that count alone", value=counting, unit="events/s"),
        Result(name="… by one network", value=ours, unit="events/s"),
        at_least("… against a history encoded anew for each of 20 nodes", ratio, "×", 10, note),
    ]


def _encoding_per_node(rows: int) -> Callable[[], None]:
    """A step as an implementation takes it that has no state to ask between events: NHP, rates by 20 nodes."""
    shape = replace(Params.of({"base": "nhp", "head": "intensity"}).shape("nhp"), nodes=20)
    adam = Adam(draw_weights(shape, 0), 3e-3)
    generator = np.random.default_rng(0)
    times = generator.exponential(1.0, (rows, 50)).cumsum(axis=1)
    types = generator.integers(0, 10, (rows, 50))
    past = Past.of(times, types, np.full(rows, 50), np.zeros((rows, shape.types), np.float32), 1.0)
    gaps, kinds = torch.from_numpy(generator.exponential(1.0, rows)), torch.from_numpy(generator.integers(0, 10, rows))

    def step() -> None:
        leaves = adam.leaves(set(adam.weights))
        rates = [
            prepare(shape, leaves, past).rates((gaps * share)[:, None])[:, 0] for share in torch.linspace(0.0, 1.0, 20)
        ]
        compensator = torch.trapezoid(torch.stack(rates, dim=1).sum(dim=2), dim=1) * gaps / 19
        loss = (compensator - rates[-1].gather(1, kinds[:, None])[:, 0].clamp(min=1e-9).log()).mean()
        names = sorted(leaves)
        gradients = torch.autograd.grad(loss, [leaves[name] for name in names], allow_unused=True)
        adam.step({name: gradient for name, gradient in zip(names, gradients) if gradient is not None})

    return step


def _keep_learning(ready: Any, stop: Any) -> None:
    learner = PromptTpp(LearnerContext(inputs=KEY, params={}, seed=0))
    batches = [batch for _, batch in hawkes_with_habits(64 * 100, keys=100).batches()]
    later = 0.0
    while not stop.is_set():
        for batch in batches:
            learner.learn(Batch(batch.inputs, batch.labels, batch.weights, batch.times + later))
            ready.set()
            if stop.is_set():
                break
        later += 1e5


def forecasts(rounds: int, warm_up: int = 100) -> list[Result]:
    """One key at a time, while another process learns."""
    learner = PromptTpp(LearnerContext(inputs=KEY, params={}, seed=0))
    for _, batch in hawkes_with_habits(64 * warm_up, keys=100).batches():
        learner.learn(batch)
    predictor = PromptTpp.predictor_from(learner.predictor().state())
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    busy = context.Process(target=_keep_learning, args=(ready, stop))
    busy.start()
    ready.wait(120)
    times = []
    for number in range(rounds):
        started = perf_counter()
        predictor.predict({"key": np.array([str(number % 100).encode()], dtype=object)})
        times.append(1000 * (perf_counter() - started))
    stop.set()
    busy.join()
    return [at_most("a forecast by key beside a busy learner, median", median(times), "ms", 5)]


def many_keys(count: int) -> list[Result]:
    """Histories of so many keys, and what publishing them costs."""
    before = _resident()
    histories = KeyedHistories(50, count)
    for key in range(count):
        histories.push(key * 7_919, float(key), key % 20)
    size = (_resident() - before) / 1e9
    started = perf_counter()
    tensors = histories.frozen().tensors()
    copied = perf_counter() - started
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        started = perf_counter()
        write_state(State(tensors), Path(folder) / "state", durable=False)
        written = perf_counter() - started
    note = (
        f"{histories.nbytes / 1e6:.0f} MB of arrays; publishing copies them in {copied:.1f} s, writes {written:.1f} s"
    )
    return [at_most(f"{count:,} keys with a window of 50 take", size, "GB", 2.0 * count / 1e6, note)]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Costs on made-up events, then quality on the real streams; `QUICK`: three tenths of one of them."""
    rounds = scale.of((15, 120, 64), quick=(5, 120, 64), tiny=(1, 2, 4))
    results = throughput(*rounds) + forecasts(*scale.of((1000, 100), quick=(200, 100), tiny=(3, 2)))
    results += many_keys(scale.of(1_000_000, quick=100_000, tiny=1000))
    if not SHARED.is_dir():
        return [*results, no_streams("recorded event sequences")]
    results += on_stackoverflow(scale)
    if scale is Scale.FULL:
        results += on_the_others()
    elif scale is Scale.TINY:
        results += on_the_others(["taxi"], last=200, **_TINY)
    return results


if __name__ == "__main__":
    show("prompt_tpp", run(Scale.asked()))
