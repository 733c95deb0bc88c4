"""From measured costs to learner processes, memory and traffic for a rate, and what limits them.

Each figure is a bound for the events that were measured: what real events cost differs, and the state grows. Processes
are planned for 70 % of their time, because a queue grows without bound as its use nears 100 %, and because the rest
is what a backlog is learned with: after a standstill of a minute, about two and a half minutes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from thalweg.ops.run.resources.memory_estimate import COPIES
from thalweg.ops.scale.measure import Costs

USED = 0.7
"""Share of a core's time that is planned for learning."""
_ROUNDING = 1e-9
_SAVING = 0.1
"""Share of the time that a learner spends saving, at most (`stream/learn/saving/saver.py`)."""
_AGAIN_SECONDS, _AGAIN_SAVES = 0.5, 50.0
"""Learned time after which it saves between the usual times (`stream/learn/saving/saving.py`)."""
_KEPT_VERSIONS = 3


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The settings of a model that decide how often it saves and publishes."""

    snapshot_events: int = 10_000
    snapshot_seconds: float = 30.0
    publish_share: float = 0.05
    merge_seconds: float | None = None
    """Of `[model.scale]` with `answers = "merge"`; None: nothing is merged."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a model needs for a rate."""

    model: str
    rate: float
    """Events per second of its topic."""
    partitions: int
    partitions_given: bool
    workers: int
    """Learner processes, each with a core of its own."""
    used: float
    """Share of its time that the busiest of them learns and saves, 0 to 1; above 0.7 there is no room for a backlog."""
    capacity: float
    """Events per second that these processes learn if they do nothing else."""
    most_rate: float
    """Events per second at which the busiest would learn 70 % of its time."""
    memory_bytes: int
    """Resident memory of a process, at least."""
    memory_bytes_per_event: float
    """How much each learned event adds to it, until the state's bounds are met."""
    log_bytes: float
    """Bytes per second read from the log, without its framing and compression."""
    journal_bytes: float
    """Bytes per second written to the journals."""
    snapshot_bytes: float
    """Bytes per second of snapshots, written to the disks, and uploaded where there is a state_url; at most."""
    snapshot_interval_seconds: float
    """Between two snapshots of a shard."""
    version_bytes: float
    """Bytes per second of published versions, written to memory, and sent where servers are on other hosts; at most. Of
    shards that are merged, their states."""
    merge_share: float
    """Share of a core's time that merging the shards takes."""
    bottleneck: str
    """What limits the rate first."""
    advice: str
    """What to do about it; empty: nothing."""

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return asdict(self)


def plan(costs: Costs, rate: float, partitions: int | None, pace: Pace) -> Plan:
    """The plan of one model.

    Args:
        costs: As measured.
        rate: Events per second of its topic, spread evenly over its partitions.
        partitions: Of its topic; None: as many as fit.
        pace: How often it saves and publishes.
    """
    load = rate * costs.seconds_per_event
    needed = max(1, math.ceil(load / USED - _ROUNDING))
    count = partitions if partitions is not None else _partitions_for(needed if costs.scaled else 1)
    all_shards = count if costs.scaled else 1
    shard_rate = rate / all_shards
    interval = _interval(costs, shard_rate, pace)
    saving = costs.snapshot_core_seconds / interval  # of a further shard: that of one is in what was measured
    workers = _workers(load, needed, all_shards, saving)
    shards = math.ceil(all_shards / workers)
    share = shards / all_shards
    used = load * share + (shards - 1) * saving
    published = _publications(costs, shard_rate, pace)
    merged = _merge_share(costs, all_shards, pace)
    bottleneck, advice = _bottleneck(costs, rate, count, needed, used, merged)
    room = max(0.0, USED - (shards - 1) * saving)
    return Plan(
        model=costs.model,
        rate=rate,
        partitions=count,
        partitions_given=partitions is not None,
        workers=workers,
        used=used,
        capacity=1 / (share * costs.seconds_per_event),
        most_rate=room / (share * costs.seconds_per_event),
        memory_bytes=costs.process_bytes + shards * (COPIES * costs.state_bytes + _KEPT_VERSIONS * costs.version_bytes),
        memory_bytes_per_event=COPIES * costs.state_bytes_per_event,
        log_bytes=rate * costs.record_bytes,
        journal_bytes=rate * costs.journal_bytes_per_event,
        snapshot_bytes=all_shards * costs.snapshot_bytes / interval,
        snapshot_interval_seconds=interval,
        version_bytes=all_shards
        * published
        * (costs.version_bytes if pace.merge_seconds is None else costs.state_bytes),
        merge_share=merged,
        bottleneck=bottleneck,
        advice=advice,
    )


def _partitions_for(workers: int) -> int:
    """Partitions that as many workers can share evenly, with room for twice as many; a power of two where one fits."""
    return 1 if workers == 1 else 2 ** math.ceil(math.log2(2 * workers))


def _workers(load: float, needed: int, shards: int, saving: float) -> int:
    """The fewest workers whose busiest has no more to do than is planned; never more than shards."""
    for workers in range(min(needed, shards), shards):
        most = math.ceil(shards / workers)
        if load * most / shards + (most - 1) * saving <= USED + _ROUNDING:
            return workers
    return shards


def _interval(costs: Costs, shard_rate: float, pace: Pace) -> float:
    """Seconds between two snapshots of a shard."""
    busy = min(1.0, shard_rate * costs.seconds_per_event)
    usual = min(pace.snapshot_seconds, pace.snapshot_events / shard_rate)
    between = max(_AGAIN_SECONDS, _AGAIN_SAVES * costs.snapshot_seconds) / busy
    return max(min(usual, between), costs.snapshot_seconds * (1 + 1 / _SAVING), 1e-3)


def _publications(costs: Costs, shard_rate: float, pace: Pace) -> float:
    """Versions that a shard publishes in a second, at most."""
    most = min(shard_rate, pace.publish_share / max(costs.publish_seconds, 1e-5))
    return most if pace.merge_seconds is None else min(most, 1 / pace.merge_seconds)


def _merge_share(costs: Costs, shards: int, pace: Pace) -> float:
    if pace.merge_seconds is None or costs.merge_seconds is None or shards == 1:
        return 0.0
    return shards * costs.merge_seconds / pace.merge_seconds


def _bottleneck(costs: Costs, rate: float, partitions: int, needed: int, used: float, merged: float) -> tuple[str, str]:
    """What limits the rate first, and what to do about it."""
    if not costs.scaled and needed > 1:
        return (
            "one learner process",
            f"[model.scale] by = 'partition' lets {needed} processes learn; without it one can learn "
            f"{USED / costs.seconds_per_event:,.0f} events/s",
        )
    if used > USED + _ROUNDING:
        return (
            "partitions",
            f"a partition has one learner, which can learn {USED / costs.seconds_per_event:,.0f} events/s, and "
            f"{rate / partitions:,.0f} come: the topic needs {needed:,} partitions or more",
        )
    if merged > USED:
        return "merging", 'a longer merge_seconds, fewer partitions, or answers = "key"'
    return max(_parts(costs).items(), key=lambda part: part[1])[0], ""


def _parts(costs: Costs) -> dict[str, float]:
    """The parts of an event's time, by name."""
    return {
        "decoding": costs.decode_seconds,
        "predicting": costs.predict_seconds,
        "grading": costs.grade_seconds,
        "learning": costs.learn_seconds,
        "journal, publishing, saving": costs.other_seconds,
    }
