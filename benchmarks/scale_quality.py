"""What quality shards cost: one process against 2 and 4 shards, on the same events in the same order.

Each event is predicted before it is learned, by the shard of its key (as Kafka's producers hash it), or, of learners
that merge, by what all shards have learned, merged. Events come in blocks of 64, so that a label is as late for one
process as for four.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
from collections.abc import Callable, Iterator  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.cotta import WEIGHTS  # noqa: E402
from benchmarks.report import Result, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.scale_streams import (  # noqa: E402
    Floats,
    Task,
    classes_of,
    click_through,
    corrupted_pictures,
    sequences,
)
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.models.contract.capabilities import Averageable, capability  # noqa: E402
from thalweg.models.contract.learner import Learner  # noqa: E402
from thalweg.models.contract.merging import merged_params  # noqa: E402
from thalweg.stream.averaging.averaging import Averaging  # noqa: E402
from thalweg.stream.merging.ports import ShardState  # noqa: E402
from thalweg.stream.merging.sums import MergedStates  # noqa: E402
from thalweg.stream.publication.ports import VersionInfo  # noqa: E402
from thalweg.stream.shards.partitioner import partitions_of  # noqa: E402

SHARDS = (2, 4)
ALLOWED = 0.5
"""Per cent of the quality of one process that shards may cost."""
_LESS = {"log loss"}


class _Shards:
    """The versions of shards, as if published at once."""

    def __init__(self, learners: list[Learner]) -> None:
        self._learners, self.events = learners, [0] * len(learners)

    def newest(self) -> dict[int, ShardState]:
        return {
            number: ShardState(VersionInfo(events, events, 0.0, 0.0, 0.0, 0), learner.predictor().state())
            for number, (learner, events) in enumerate(zip(self._learners, self.events, strict=True))
        }

    def close(self) -> None:
        """Nothing is open."""


def by_key(task: Task, keys: list[bytes], shards: int, average_every: int = 0) -> Floats:
    """The figures (N, k) of events that are predicted and learned by the shard of their key; `average_every` as of
    `[model.scale]`.
    """
    shard_of = partitions_of(keys, shards)
    learners = [task.make() for _ in range(shards)]
    live = _Shards(learners)
    averaging = [Averaging(live, number, average_every) for number in range(shards) if average_every]
    found: list[Floats] = []
    for start in range(0, len(task.log), task.block):
        block = task.log[start : start + task.block]
        of = shard_of[start : start + task.block]
        figures: Floats | None = None
        for number, learner in enumerate(learners):
            rows = np.flatnonzero(of == number)
            if not len(rows):
                continue
            mine = block.take(rows)
            answered = task.grade(learner.predictor(), mine)
            if figures is None:
                figures = np.empty((len(block), answered.shape[1]))
            figures[rows] = answered
            learner.learn(mine)
            live.events[number] += len(mine)
            if averaging and (entry := averaging[number].entry(learner, 0, live.events[number])) is not None:
                averageable = capability(learner, Averageable)
                assert averageable is not None
                assert entry.mixed is not None
                averageable.mix(entry.mixed, entry.weight)
        assert figures is not None
        found.append(figures)
    return np.concatenate(found)


def merged(task: Task, shards: int, every: int, key: str = "event") -> Floats:
    """The figures (N, k) of events that all shards answer, merged every so many blocks, and that of the key learns."""
    shard_of = partitions_of(task.keys[key], shards)
    learners = [task.make() for _ in range(shards)]
    together = MergedStates(task.make)
    whole: Learner = task.make()
    found = []
    for number, start in enumerate(range(0, len(task.log), task.block)):
        block = task.log[start : start + task.block]
        found.append(task.grade(whole.predictor(), block))
        of = shard_of[start : start + task.block]
        for shard, learner in enumerate(learners):
            if len(rows := np.flatnonzero(of == shard)):
                learner.learn(block.take(rows))
        if number % every == 0:
            whole, refused = together.merged({shard: learner.state() for shard, learner in enumerate(learners)})
            if refused:
                raise RuntimeError(f"{task.name}: {refused}")
    return np.concatenate(found)


def lost(name: str, one: float, several: float) -> float:
    """Per cent of the quality of one process that is lost."""
    change = one - several if name not in _LESS else several - one
    return 100 * change / abs(one)


def compared(task: Task, one: Floats, several: Callable[[int], Floats], how: str) -> Iterator[Result]:
    """One row for each quality: what most shards lose, and the figures behind it."""
    found = {shards: several(shards) for shards in SHARDS}
    half = len(task.log) // 2
    for name, quality in task.qualities.items():
        alone = quality(one, task.log)
        values = {shards: quality(figures, task.log) for shards, figures in found.items()}
        losses = {shards: lost(name, alone, value) for shards, value in values.items()}
        late = {
            shards: lost(name, quality(one[half:], task.log[half:]), quality(figures[half:], task.log[half:]))
            for shards, figures in found.items()
        }
        note = (
            f"one process {alone:.4f}; shards "
            + ", ".join(f"{shards}: {values[shards]:.4f} ({losses[shards]:+.2f} % lost)" for shards in SHARDS)
            + "; of the second half lost "
            + ", ".join(f"{late[shards]:+.2f} %" for shards in SHARDS)
        )
        yield at_most(f"{task.name}, {how}: {name} lost", losses[SHARDS[-1]], "%", ALLOWED, note)


def keyed(task: Task, names: list[str] | None = None, average_every: int = 0) -> Iterator[Result]:
    """A learner by each of its keys; and by the first of them with averages every so many events of a shard."""
    one = by_key(task, next(iter(task.keys.values())), 1)
    chosen = names or list(task.keys)
    for key in chosen:
        yield from compared(task, one, partial(by_key, task, task.keys[key]), f"by {key}")
    if average_every:
        several = partial(by_key, task, task.keys[chosen[0]], average_every=average_every)
        yield from compared(task, one, several, f"by {chosen[0]}, averaged every {average_every} of its events")


def together(task: Task, defaults: Task, every: int = 1) -> Iterator[Result]:
    """A learner whose shards are merged, against one process of the same settings and one as it comes."""
    one, usual = (by_key(each, each.keys["event"], 1) for each in (task, defaults))
    results = list(compared(task, one, lambda shards: merged(task, shards, every), "merged"))
    yield from results
    for name, quality in task.qualities.items():
        figures = quality(usual, task.log), quality(one, task.log)
        note = f"one process as it comes {figures[0]:.4f}, with settings that merge {figures[1]:.4f}"
        yield Result(name=f"… {name} lost by settings that merge", value=lost(name, *figures), unit="%", note=note)


def _keyed(scale: Scale) -> Iterator[Result]:
    """Learners that are served by key."""
    events = scale.of(80_000, quick=12_000, tiny=200)
    every = scale.of(250, quick=250, tiny=16)
    yield from keyed(click_through(events), ["user", "item"], every)
    yield from keyed(click_through(events, memory="none"), ["user"], every)
    small = scale.of({}, quick={}, tiny=_TINY)
    yield from keyed(sequences("taxi", scale.of(40_000, quick=4_000, tiny=200), **small))
    if scale is not Scale.TINY:
        yield from keyed(sequences("stackoverflow", scale.of(20_000, quick=6_000, tiny=0)))
    shown, passes = scale.of((None, 12), quick=(1_000, 12), tiny=(100, 1))
    with tempfile.TemporaryDirectory() as folder:
        weights = WEIGHTS if scale is not Scale.TINY else Path(folder) / "weights.safetensors"
        yield from keyed(corrupted_pictures(weights, shown, passes))
    rows = scale.of(None, quick=4_000, tiny=200)
    river = "river:river."
    tree = f"{river}tree.HoeffdingAdaptiveTreeClassifier"
    yield from keyed(classes_of("electricity", rows, f"{river}linear_model.LogisticRegression", "day:1", named=True))
    yield from keyed(classes_of("electricity", rows, tree, "day:1", named=True))
    yield from keyed(classes_of("noaa_weather", rows, f"{river}naive_bayes.GaussianNB", named=True))
    sgd = "sklearn:sklearn.linear_model.SGDClassifier"
    yield from keyed(classes_of("noaa_weather", rows, sgd, classes=["0", "1"]))
    yield from keyed(classes_of("noaa_weather", rows, "ridge"))


def _merged(scale: Scale) -> Iterator[Result]:
    """Learners whose shards are merged."""
    recommendations = click_through(scale.of(16_000, quick=6_000, tiny=200))
    one = by_key(recommendations, recommendations.keys["user"], 1)
    for how, several in (
        ("by user", partial(by_key, recommendations, recommendations.keys["user"])),
        ("merged every 320 events", lambda shards: merged(recommendations, shards, 5, "user")),
    ):
        yield from compared(recommendations, one, several, f"{how}, the first {len(recommendations.log):,}")
    rows = scale.of(None, quick=4_000, tiny=200)
    every = scale.of(1, quick=4, tiny=1)
    for stream in ("noaa_weather", "insects_gradual"):
        for name, given in (("ridge", {"half_life_seconds": 1_000.0}), ("nearest_mean", {})):
            params = merged_params(name, given)
            yield from together(classes_of(stream, rows, name, **params), classes_of(stream, rows, name), every)
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.npy"
        task = classes_of("insects_gradual", rows, "bottleneck")
        np.save(keys, task.log.inputs["features"][:1_000].astype(np.float32))
        small = scale.of({}, quick={}, tiny={"heads": 4, "pairs": 16, "key_width": 4, "key_steps": 5})
        params = merged_params("bottleneck", {"key_file": str(keys), **small})
        usual = classes_of("insects_gradual", rows, "bottleneck", **{**small, "key_file": str(keys)})
        yield from together(classes_of("insects_gradual", rows, "bottleneck", **params), usual, every)


_TINY = {"width": 8, "time_width": 4, "window": 8, "unit_gaps": 5, "train_batch": 8, "prompts": 4, "chosen": 2}


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All learners; `QUICK`: of each stream the first part."""
    if not SHARED.is_dir():
        return [no_streams("quality of shards")]
    return [*_keyed(scale), *_merged(scale)]


if __name__ == "__main__":
    show("Quality of shards", run(Scale.asked()))
