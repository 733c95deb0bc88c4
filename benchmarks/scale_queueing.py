"""A queueing model of learner processes: shards gather records into blocks, and those of one worker share its core.

Discrete events, one for each block: a shard gathers, waits for its worker's core, is learned, and gathers again, as
`stream/learn/blocks.py` does. Records arrive as a Poisson process at each partition; within a block they are taken to
have come evenly. Workers come and go: a shard that moves stands still meanwhile, one whose worker was killed until
Kafka notices, and what was learned since its snapshot is learned again.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Times:
    """What takes how long, in seconds."""

    event: float
    """To decode, predict, grade and learn one."""
    block: float = 0.0
    """Per block besides: its journal entry, its publication."""
    snapshot: float = 0.0
    """To save one."""
    snapshot_interval: float = 30.0
    """Between two snapshots of a shard."""
    gather: float = 0.05
    """That records are gathered while more come; `batch_seconds`."""
    block_events: int = 512
    """Records of a block, at most."""
    hand_over: float = 1.0
    """That a shard stands still while it moves, besides saving and reading its snapshot."""
    session: float = 10.0
    """Until Kafka gives the partitions of a killed learner to others."""


@dataclass(frozen=True)
class Change:
    """Workers from some moment on."""

    at: float
    """Seconds since the beginning."""
    workers: int
    killed: bool = False
    """Whether those that are no more were killed; else they handed their shards over."""


@dataclass(slots=True)
class _Shard:
    number: int
    rate: float
    worker: int
    backlog: int = 0
    taken_until: float = 0.0
    """All records that came before this moment are learned …"""
    sampled_until: float = 0.0
    """… and those before this one are in the backlog."""
    saved_at: float = 0.0
    stands_until: float = 0.0
    again: float = 0.0
    """Seconds of learning that are to be done again."""
    learned: int = 0
    waiting: bool = False


@dataclass
class Simulated:
    """What a simulation found."""

    seconds: float
    arrived: int = 0
    learned: int = 0
    backlog: int = 0
    """Records that wait at the end."""
    busy: float = 0.0
    """Seconds of all cores."""
    blocks: list[tuple[float, int, float, float]] = field(default_factory=list)
    """When each block was learned, its records, the lag of its newest and of its oldest one."""

    def rate(self, since: float = 0.0) -> float:
        """Records learned per second, of blocks learned since this moment."""
        return sum(n for at, n, _, _ in self.blocks if since <= at < self.seconds) / (self.seconds - since)

    def lag(self, share: float, since: float = 0.0, until: float = math.inf) -> float:
        """Seconds from a record's coming until it is learned, which this share of the records does not exceed."""
        chosen = np.array([block[1:] for block in self.blocks if since <= block[0] < until])
        if not len(chosen):
            return math.nan
        places = (np.arange(8) + 0.5) / 8
        lags = (chosen[:, 1, None] + (chosen[:, 2] - chosen[:, 1])[:, None] * places).reshape(-1)
        weights = np.repeat(chosen[:, 0] / 8, 8)
        order = np.argsort(lags)
        return float(lags[order][np.searchsorted(np.cumsum(weights[order]), share * weights.sum())])

    def recovered(self, at: float, lag: float) -> float:
        """Seconds after this moment until no block has a longer lag than this any more; infinite if never."""
        late = [when for when, _, _, oldest in self.blocks if when >= at and oldest > lag]
        if not late:
            return 0.0
        last = max(late)
        return last - at if any(when > last for when, *_ in self.blocks) else math.inf


def simulate(
    times: Times, rates: Sequence[float], workers: int, seconds: float, *, seed: int = 0, changes: Sequence[Change] = ()
) -> Simulated:
    """Simulate so many seconds.

    Args:
        times: What takes how long.
        rates: Records per second of each partition.
        workers: At the beginning; shards are dealt out evenly.
        seconds: Simulated time.
        seed: Of the arrivals.
        changes: Of the number of workers, in order of time.
    """
    return _World(times, rates, workers, seconds, seed, changes).run()


class _World:
    def __init__(
        self,
        times: Times,
        rates: Sequence[float],
        workers: int,
        seconds: float,
        seed: int,
        changes: Sequence[Change],
    ) -> None:
        self._times, self._seconds = times, seconds
        self._random = np.random.default_rng(seed)
        self._shards = [_Shard(number, rate, number % workers) for number, rate in enumerate(rates)]
        self._workers = workers
        most = max([workers, *(change.workers for change in changes)])
        self._queues: list[deque[_Shard]] = [deque() for _ in range(most)]
        self._busy: list[_Service | None] = [None] * most
        self._alive = [number < workers for number in range(most)]
        self._heap: list[tuple[float, int, str, object]] = []
        self._count = 0
        self._found = Simulated(seconds)
        spread = self._random.uniform(0, times.snapshot_interval, len(self._shards))
        for shard, saved_at in zip(self._shards, (-spread).tolist()):
            shard.saved_at = saved_at  # not all at once
            self._at(0.0, "ready", shard)
        for change in changes:
            self._at(change.at, "change", change)

    def run(self) -> Simulated:
        while self._heap:
            now, _, kind, what = heapq.heappop(self._heap)
            if now >= self._seconds:
                break
            if kind == "ready":
                assert isinstance(what, _Shard)
                self._ready(now, what)
            elif kind == "done":
                assert isinstance(what, _Service)
                self._done(now, what)
            else:
                assert isinstance(what, Change)
                self._change(now, what)
        for shard in self._shards:
            self._arrive(shard, self._seconds)
            self._found.backlog += shard.backlog
        return self._found

    def _at(self, when: float, kind: str, what: object) -> None:
        self._count += 1  # of two events at one moment the earlier one first
        heapq.heappush(self._heap, (when, self._count, kind, what))

    def _arrive(self, shard: _Shard, now: float) -> None:
        """Records that have come until now."""
        if now > shard.sampled_until:
            if not shard.backlog:
                shard.taken_until = max(shard.taken_until, shard.sampled_until)
            came = int(self._random.poisson(shard.rate * (now - shard.sampled_until)))
            shard.backlog += came
            shard.sampled_until = now
            self._found.arrived += came

    def _ready(self, now: float, shard: _Shard) -> None:
        """The shard has gathered, and wants its worker's core."""
        if now < shard.stands_until:
            self._at(shard.stands_until, "ready", shard)
            return
        if not shard.waiting:
            shard.waiting = True
            self._queues[shard.worker].append(shard)
            self._begin(now, shard.worker)

    def _begin(self, now: float, worker: int) -> None:
        queue = self._queues[worker]
        if self._busy[worker] is not None or not queue or not self._alive[worker]:
            return
        shard = queue.popleft()
        shard.waiting = False
        self._arrive(shard, now)
        if not shard.backlog and not shard.again:
            wait = self._random.exponential(1 / shard.rate) if shard.rate else math.inf
            if now + wait < self._seconds:
                shard.backlog, shard.taken_until, shard.sampled_until = 1, now + wait, now + wait
                self._found.arrived += 1
            self._at(now + wait, "ready", shard)
            self._begin(now, worker)
            return
        taken = min(self._times.block_events, shard.backlog)
        oldest = shard.taken_until
        newest = oldest + (shard.sampled_until - oldest) * taken / max(1, shard.backlog)
        took = self._times.block + taken * self._times.event + shard.again
        if now - shard.saved_at >= self._times.snapshot_interval:
            took += self._times.snapshot
            shard.saved_at = now
        shard.again = 0.0
        self._busy[worker] = service = _Service(worker, shard, taken, oldest, newest, took)
        self._at(now + took, "done", service)

    def _done(self, now: float, service: _Service) -> None:
        worker, shard = service.worker, service.shard
        if self._busy[worker] is not service:
            return  # killed meanwhile, or moved
        self._busy[worker] = None
        shard.backlog -= service.taken
        shard.taken_until = service.newest
        shard.learned += service.taken
        found = self._found
        found.learned += service.taken
        found.busy += service.took
        if service.taken:
            found.blocks.append((now, service.taken, now - service.newest, now - service.oldest))
        self._arrive(shard, now)
        lacking = max(0, self._times.block_events - shard.backlog)
        gather = min(self._times.gather, lacking / shard.rate) if shard.rate else self._times.gather
        self._at(now + gather, "ready", shard)
        self._begin(now, worker)

    # -- workers that come and go -------------------------------------------------------------------------------------

    def _change(self, now: float, change: Change) -> None:
        gone = [number for number in range(len(self._alive)) if self._alive[number] and number >= change.workers]
        if change.killed:
            for number in gone:
                self._kill(now, number)
        for number in range(len(self._alive)):
            self._alive[number] = number < change.workers
        self._workers = change.workers
        self._deal(now, set(gone), killed=change.killed)

    def _kill(self, now: float, worker: int) -> None:
        if (service := self._busy[worker]) is not None:
            self._busy[worker] = None
            self._at(now, "ready", service.shard)

    def _deal(self, now: float, gone: set[int], *, killed: bool) -> None:
        """Give shards to workers evenly; only those move that have no worker, or one with too many."""
        most = math.ceil(len(self._shards) / self._workers)
        count = [0] * self._workers
        homeless = []
        for shard in self._shards:
            if shard.worker in gone or count[shard.worker] >= most:
                homeless.append(shard)
            else:
                count[shard.worker] += 1
        for shard in homeless:
            died = killed and shard.worker in gone
            least = int(np.argmin(count))
            count[least] += 1
            self._move(now, shard, least, died=died)

    def _move(self, now: float, shard: _Shard, worker: int, *, died: bool) -> None:
        times = self._times
        if shard.waiting:
            self._queues[shard.worker].remove(shard)
            shard.waiting = False
            self._at(now, "ready", shard)
        elif (service := self._busy[shard.worker]) is not None and service.shard is shard:
            # its block is lost with its owner: it was not published
            self._busy[shard.worker] = None
            self._at(now, "ready", shard)
            self._begin(now, shard.worker)
        reading = times.snapshot
        if died:
            shard.again += (now - shard.saved_at) * shard.rate * times.event
            shard.stands_until = now + times.session + times.hand_over + reading
        else:
            shard.stands_until = now + times.snapshot + times.hand_over + reading
            shard.saved_at = now
        shard.worker = worker


@dataclass(frozen=True, slots=True)
class _Service:
    worker: int
    shard: _Shard
    taken: int
    oldest: float
    newest: float
    took: float


def evenly(rate: float, partitions: int) -> list[float]:
    """The same rate for each partition."""
    return [rate / partitions] * partitions


def unevenly(rate: float, partitions: int, seed: int = 0) -> list[float]:
    """As keys make them: the rates of partitions with 100 keys each, of log-normal weights."""
    weights = np.random.default_rng(seed).lognormal(0, 1.5, (partitions, 100)).sum(axis=1)
    return list((rate * weights / weights.sum()).tolist())
