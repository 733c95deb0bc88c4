"""Error memories of several shards as one.

Entries are united by the time of their events, so that the memory holds the latest ones of all shards: those that one
learner would hold of the same events in the order of their times. Hypotheses of a turn are weighed anew by the evidence
of all entries, which is what a filter over all of them has (their likelihood has no order, see `turns`). Combinations
are added up as what they are, sums of curvature. The network is not exact: layers are averaged by the events that each
has trained on, embedding rows by their sums of squared gradients. So is what entries say of it: base scores and
evidence are those of the shard's own network at the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.ring import Ring
from thalweg.memory.vectors.window import DIED, NEVER
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Tensors = Mapping[str, Array]
Columns = dict[str, Array]


def entries_of_ring(tensors: Tensors) -> Columns:
    """The live entries in the `tensors()` of a ring, in the order in which they were written."""
    first, end, _, _, slots = map(int, tensors["counters"])
    at = np.arange(first, end) % slots
    at = at[tensors[DIED][at] == NEVER]
    return {n: column[at] for n, column in tensors.items() if n not in (DIED, "counters", "newest_time")}


def joined_topics(mine: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], NDArray[np.int16]]:
    """All topics, and the code of each of theirs among them; the last code, for no topic, stays -1."""
    every = [*mine, *(topic for topic in theirs if topic not in mine)]
    return every, np.array([*(every.index(topic) for topic in theirs), -1], dtype=np.int16)


def in_order(entries: Columns, topics: Sequence[str]) -> Columns:
    """Entries by the time of their events; of equal times by their place in the log, then by their id."""
    rank = (
        np.array([*np.argsort(np.argsort(topics)), -1], dtype=np.int64)[entries["topic"]]
        if topics
        else entries["topic"]
    )
    ids = np.ascontiguousarray(entries["id"])
    names = ids.view(f"S{ids.shape[1]}")[:, 0] if len(ids) else np.zeros(0, dtype="S1")
    order = np.lexsort((names, entries["offset"], entries["partition"], rank, entries["time"]))
    return {name: column[order] for name, column in entries.items()}


def united(ring: Ring, mine: Columns, theirs: Columns, topics: Sequence[str]) -> Columns:
    """Write both to a new ring, within its limits; returns what is in it."""
    both = in_order({name: np.concatenate([mine[name], theirs[name]]) for name in mine}, topics)
    if len(both["time"]):
        ring.append(both)
    return entries_of_ring(ring.tensors())


def combined(mine: Tensors, theirs: Tensors, start: Floats, prior: float) -> dict[str, Array]:
    """Two `RecursiveLogistic` as one: curvatures less the prior that both have, weights as their sums say."""
    own, other = mine["curvature"], theirs["curvature"]
    curvature = own + other - prior * np.eye(len(start))
    pull = own @ mine["weights"] + other @ theirs["weights"] - prior * start
    return {"weights": np.linalg.solve(curvature, pull), "curvature": curvature}


def averaged_network(mine: Tensors, theirs: Tensors, share: float, fields: int, capacity: int) -> dict[str, Array]:
    """The `tensors()` of two networks as one; `share`: that of theirs in layers and moments."""
    found: dict[str, Array] = {"steps": np.maximum(mine["steps"], theirs["steps"])}
    for name, array in mine.items():
        if name.partition(".")[0] in ("weight", "mean", "square"):
            old = array.astype(np.float64)
            found[name] = (old + share * (theirs[name] - old)).astype(array.dtype)
    for field in range(fields):
        one, other = (
            {part: side[f"table.{field}.{part}"] for part in ("ids", "rows", "counts")} for side in (mine, theirs)
        )
        found |= {f"table.{field}.{part}": array for part, array in _rows(one, other, capacity).items()}
    return found


def _rows(mine: Tensors, theirs: Tensors, capacity: int) -> dict[str, Array]:
    """Two tables as one: rows by how much was learned of them, as Adagrad's sums say, which are added up. The least
    recently used ids of both go first where there are too many.
    """
    ids = np.concatenate([mine["ids"], theirs["ids"]])
    age = np.concatenate([np.arange(len(side["ids"]))[::-1] for side in (mine, theirs)])
    rows = np.concatenate([mine["rows"], theirs["rows"]]).astype(np.float64)
    every, inverse = np.unique(ids, return_inverse=True)
    known = rows[:, 1].mean(axis=1) + 1e-12
    summed = np.zeros((len(every), 2, rows.shape[2]))
    weight, newest = np.zeros(len(every)), np.full(len(every), np.iinfo(np.int64).max)
    np.add.at(summed[:, 0], inverse, rows[:, 0] * known[:, None])
    np.add.at(summed[:, 1], inverse, rows[:, 1])
    np.add.at(weight, inverse, known)
    np.minimum.at(newest, inverse, age)
    summed[:, 0] /= weight[:, None]
    order = np.lexsort((every, -newest))[-capacity:]
    counts = mine["counts"] + theirs["counts"] + [0, len(every) - len(order)]
    return {"ids": every[order], "rows": summed[order].astype(np.float32), "counts": counts}


def joined_scale(mine: Tensors, theirs: Tensors, events: tuple[int, int]) -> dict[str, Array]:
    """Two `Standardiser`s as one: means and squared deviations of all events, which are the scale at once."""
    total = max(sum(events), 1)
    delta = theirs["mean"] - mine["mean"]
    mean = mine["mean"] + delta * (events[1] / total)
    m2 = mine["m2"] + theirs["m2"] + delta * delta * (events[0] * events[1] / total)
    deviation, size = np.sqrt(m2 / total), np.abs(mean)
    flat = deviation <= 1e-12 * size
    factor = 1.0 / np.where(flat, np.where(size > 0, size, 1.0), deviation)
    return {"mean": mean, "m2": m2, "shift": mean, "factor": factor}


def times_of_starts(turns: Tensors, ring: Tensors, entries: Columns) -> tuple[Floats, float]:
    """When the hypotheses of a shard begin, by the time of the first entry after each, and when what they are about
    does; infinite: after all entries.
    """
    first, end, _, _, slots = map(int, ring["counters"])
    numbers = np.arange(first, end)
    numbers = numbers[ring[DIED][numbers % slots] == NEVER]
    times = np.append(entries["time"], np.inf)
    since = -np.inf if int(turns["since"][0]) <= first else float(times[np.searchsorted(numbers, turns["since"][0])])
    starts: Floats = times[np.searchsorted(numbers, turns["starts"])]
    return starts, since


def plain_meta(mine: Mapping[str, Any], theirs: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Counts of both, and their mean label, of so many latest events of each."""
    one, other = (min(side["learned"], most) for side in (mine, theirs))
    label = (one * mine["mean_label"] + other * theirs["mean_label"]) / max(one + other, 1)
    added = {name: mine[name] + theirs[name] for name in ("learned", "skipped", "trained")}
    return {**mine, **added, "mean_label": label}
