"""The state of one error memory that has learned what two have."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.ring import Ring
from thalweg.models.error_memory.guard import joined, prior_of
from thalweg.models.error_memory.params import Params
from thalweg.models.error_memory.sharing.merging import (
    averaged_network,
    combined,
    entries_of_ring,
    joined_scale,
    joined_topics,
    plain_meta,
    times_of_starts,
    united,
)
from thalweg.models.error_memory.slow_model import below
from thalweg.models.error_memory.turns import LARGEST_LEAD, weighed_anew
from thalweg.proto.schema import Array

_MEAN_OF = 10_000


def merge_mistakes(params: Params) -> dict[str, str]:
    """Why states under these parameters cannot be merged, by parameter, and what to set instead."""
    found = {}
    if params.memory == "sketch":
        found["memory"] = (
            "counts in buckets are of a space of keys that each shard learns for itself; expected neighbours"
        )
    elif "key" in params.view_names:
        found["views" if params.combine == "learned" else "combine"] = (
            "keys are of a space that each shard learns for itself; expected entries read by user and item"
        )
    if params.slot_events:
        found["slot_events"] = "each shard would clear its memory at a time of its own; expected 0"
    return found


def merged(mine: State, other: State, params: Params, ring: Ring | None) -> State:
    """Both as one; `ring`: an empty one, if there is a memory of entries. One that has learned nothing adds nothing."""
    if not other.meta["learned"]:
        return mine
    if not mine.meta["learned"]:
        return State({**other.tensors}, {**other.meta, "skipped": mine.meta["skipped"] + other.meta["skipped"]})
    one, two = mine.tensors, other.tensors
    meta = plain_meta(mine.meta, other.meta, _MEAN_OF)
    topics, codes = joined_topics(mine.meta["topics"], other.meta["topics"])
    trained = mine.meta["trained"], other.meta["trained"]
    share = trained[1] / max(sum(trained), 1)
    fields = sum(name.startswith("network.table.") and name.endswith(".ids") for name in one)
    found: dict[str, Array] = {}
    network = averaged_network(below(one, "network."), below(two, "network."), share, fields, params.table_rows)
    found |= {f"network.{name}": array for name, array in network.items()}
    events = mine.meta["scale"][0], other.meta["scale"][0]
    found |= {f"scale.{n}": a for n, a in joined_scale(below(one, "scale."), below(two, "scale."), events).items()}
    meta |= {"topics": topics, "scale": [sum(events), sum(events) + 1]}
    waiting = below(one, "waiting."), below(two, "waiting.")
    moved = {**waiting[1], "topic": codes[waiting[1]["topic"]]}
    found |= {f"waiting.{name}": np.concatenate([array, moved[name]]) for name, array in waiting[0].items()}
    start = np.zeros(len(one["combination.weights"]))
    start[1] = 1.0
    for name in ("combination", "unturned"):
        if f"{name}.weights" in one:
            both = combined(below(one, f"{name}."), below(two, f"{name}."), start, params.combine_prior)
            found |= {f"{name}.{part}": array for part, array in both.items()}
    guards = below(one, "guard."), below(two, "guard.")
    found |= {f"guard.{name}": array for name, array in joined(*guards).items()}
    if all("alone.weights" in guard for guard in guards):
        first, prior = prior_of(len(guards[0]["alone.weights"]))
        both = combined(below(one, "guard.alone."), below(two, "guard.alone."), first, prior)
        found |= {f"guard.alone.{part}": array for part, array in both.items()}
    if ring is not None:
        found |= _memory(mine, other, ring, topics, codes)
    return State({**one, **found}, meta)


def _memory(mine: State, other: State, ring: Ring, topics: list[str], codes: Any) -> dict[str, Array]:
    """The entries of both, and the hypotheses about them."""
    rings = below(mine.tensors, "ring."), below(other.tensors, "ring.")
    entries = [entries_of_ring(one) for one in rings]
    theirs = {**entries[1], "topic": codes[entries[1]["topic"]]}
    kept = united(ring, entries[0], theirs, topics)
    found = {f"ring.{name}": np.array(array) for name, array in ring.tensors().items()}
    found["ring.counters"][3] += sum(int(one["counters"][3]) for one in rings)
    turns = below(mine.tensors, "turns."), below(other.tensors, "turns.")
    if not turns[0]:
        return found
    moments = [
        times_of_starts(one, ring_, entries_) for one, ring_, entries_ in zip(turns, rings, entries, strict=True)
    ]
    end = ring.end
    first = end - len(kept["time"])
    since = int(np.searchsorted(kept["time"], max(one for _, one in moments)))
    wanted = np.unique(np.searchsorted(kept["time"], np.concatenate([starts for starts, _ in moments])))
    wanted = wanted[(wanted > 0) | (first == 0)]  # those of entries that are gone have lost evidence
    starts, weights = weighed_anew(wanted, kept["item"], kept["evidence"].astype(np.float64), since)
    lead = float(np.clip(sum(float(one["lead"][0]) for one in turns), -LARGEST_LEAD, LARGEST_LEAD))
    place = np.array([first + since], dtype=np.int64)
    hypotheses = {"starts": starts + first, "log_weights": weights, "lead": np.array([lead]), "since": place}
    return found | {f"turns.{name}": array for name, array in hypotheses.items()}
