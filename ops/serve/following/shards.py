"""Follows the shards of a model by key, and puts their newest versions together to versions of the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from thalweg.ops.serve.by_key.partitions import PartitionCount
from thalweg.ops.serve.by_key.predictor import KeyedPredictor, Partitions
from thalweg.ops.serve.following.followed import Followed
from thalweg.ops.serve.following.location import ByKey, ModelLocation
from thalweg.ops.serve.following.shard import Shard, ShardFreshness, ShardsAwaited, ShardTrials
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.publication.ports import ServedVersion, VersionInfo
from thalweg.stream.watching import Watching

log = structlog.get_logger(__name__)

_NEW_SECONDS = 0.05  # between two looks for shards that have no folder yet
_OWN_LOOK_SECONDS = 0.5  # between two looks without a change
_LONGEST_WAIT = 1.0  # seconds before it looks again after an error
_announcements = Watching("shards")


class ShardsSubscriber:
    """A server's side of a model by key: `current` is made of the newest version of each shard.

    A version is the set of its shards' versions; its number is their sum, which grows when one of them does.

    Args:
        location: The model.
        by_key: How it answers.
        clock: Unix seconds.
        health: The health of what follows the shards.
        registry: Where the probe of the log reports its health, as `partitions`.
    """

    def __init__(
        self,
        location: ModelLocation,
        by_key: ByKey,
        clock: Callable[[], float] = time.time,
        health: Health | None = None,
        registry: HealthRegistry | None = None,
    ) -> None:
        self._location, self._clock = location, clock
        self.current: ServedVersion | None = None
        """Read it once per request: one attribute read, no lock."""
        self.shards: tuple[Shard, ...] = ()
        """By partition; replaced as a whole."""
        self.partitions = PartitionCount(location.name, location.topic, by_key.topic, location.live)
        """Their number."""
        self.trial = ShardTrials(lambda: self.shards)
        self._probe = Probe(
            f"the topic of model {location.name!r}",
            self.partitions.look,
            (registry or HealthRegistry()).register("partitions", location.name),
        )
        self._health = health or Health("subscriber", location.name)
        self._made_of: tuple[Partitions, tuple[ServedVersion | None, ...]] | None = None
        self._news = threading.Condition()
        self._changed, self._stopping = threading.Event(), threading.Event()
        self._thread: SupervisedThread | None = None
        self._note = self._fault = ""

    def start(self) -> None:
        """Start to follow: what is there already is in use at once."""
        self.follow()
        self._thread = SupervisedThread(self._watch, self._health, "shards", longest_wait_seconds=_LONGEST_WAIT)
        self._thread.start()
        self._probe.start()
        _announcements.add(self._notice)

    def close(self) -> None:
        """Stop following."""
        _announcements.remove(self._notice)
        self._probe.close()
        self._stopping.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.stop()
            self._thread.join()
        for shard in self.shards:
            shard.close()

    def wait_for(self, version: int, timeout_seconds: float) -> ServedVersion | None:
        """The current version once it is this one or a later one, or after the timeout."""

        def come() -> bool:
            served = self.current
            return served is not None and served.info.version >= version

        with self._news:
            self._news.wait_for(come, timeout_seconds)
        return self.current

    def problem(self) -> str:
        """Why some keys are not answered, or not as they will be; empty if all is well."""
        problems = [f"{one.name}: {one.subscriber.problem}" for one in self.shards if one.subscriber.problem]
        served = self.current
        if served is not None and isinstance(served.predictor, KeyedPredictor) and served.predictor.unready:
            problems.insert(0, f"shards give no answer: {served.predictor.unready}")
        return "; ".join(filter(None, [self._note, self._fault, *problems]))

    def follow(self) -> None:
        """Look at every shard, and put together what is there. Called by the thread, or manually without one."""
        for partition in range(len(self.shards), self.partitions.watched):
            self.shards = (*self.shards, Shard(self._location, partition, self._clock))
        for shard in self.shards:
            try:
                self.trial.wants_row |= shard.subscriber.look()
            except OSError as error:  # of this shard; tried again
                log.warning("a shard's versions cannot be read", shard=shard.name, problem=str(error))
        present = next((place for place, one in enumerate(self.shards) if one.subscriber.current is None), None)
        self._note = self.partitions.settle(len(self.shards) if present is None else present)
        try:
            self._put_together()
            self._fault = ""
        except Exception as error:  # the versions before stay in use
            if not self._fault:
                log.exception("versions of shards do not fit together", model=self._location.name)
            self._fault = f"the versions of its shards do not fit together: {error}"

    def _put_together(self) -> None:
        partitions = self.partitions.in_use
        if partitions is None:
            return
        used = self.shards[: partitions.count]
        parts = tuple(shard.subscriber.current for shard in used)
        known = [one for one in parts if one is not None]
        if not known or self._is_made_of(partitions, parts):
            return
        predictor = self._kept(partitions, parts) or KeyedPredictor(
            self._location.name,
            partitions,
            parts,
            self._location.ready_after_events,
            self._location.schema.classes,
        )
        self._made_of = partitions, parts
        with self._news:
            self.current = ServedVersion(predictor, together([one.info for one in known]))
            self._news.notify_all()
        for shard in used:
            shard.in_use()

    def _is_made_of(self, partitions: Partitions, parts: Sequence[ServedVersion | None]) -> bool:
        """Whether the current version is made of just these."""
        if self._made_of is None or self._made_of[0] != partitions:
            return False
        before = self._made_of[1]
        return len(before) == len(parts) and all(one is other for one, other in zip(before, parts))

    def _kept(self, partitions: Partitions, parts: Sequence[ServedVersion | None]) -> KeyedPredictor | None:
        """The predictor in use if it is made of the same: versions were only confirmed."""
        if self.current is None or self._made_of is None or self._made_of[0] != partitions:
            return None
        before = self._made_of[1]
        same = len(before) == len(parts) and all(map(_same, before, parts))
        return self.current.predictor if same and isinstance(self.current.predictor, KeyedPredictor) else None

    def _notice(self) -> bool:
        """Wake the thread that loads if a shard announces something else than was looked at."""
        if not any(shard.subscriber.announces() for shard in self.shards):
            return False
        waited = not self._changed.is_set()
        self._changed.set()
        return waited

    def _watch(self) -> None:
        told = 0.0
        while not self._stopping.is_set():
            all_found = self.shards and all(shard.subscriber.found for shard in self.shards)
            self._changed.wait(_OWN_LOOK_SECONDS if all_found else _NEW_SECONDS)
            self._changed.clear()
            due = not told or time.monotonic() - told >= _OWN_LOOK_SECONDS
            if due:
                for shard in self.shards:
                    shard.subscriber.find_again()
            self.follow()
            if due:
                problem = self.problem()
                self._health.degraded(problem) if problem else self._health.running()
                told = time.monotonic()


def together(infos: Sequence[VersionInfo]) -> VersionInfo:
    """What is true of versions together: the number is their sum, and it is as old as the oldest of them."""
    return replace(
        infos[0],
        version=sum(one.version for one in infos),
        learned_events=sum(one.learned_events for one in infos),
        event_time=max(one.event_time for one in infos),
        published_at=max(one.published_at for one in infos),
        as_of=min(one.as_of or one.published_at for one in infos),
    )


def follow_shards(
    location: ModelLocation,
    by_key: ByKey,
    clock: Callable[[], float],
    health: Health | None,
    registry: HealthRegistry | None,
) -> Followed:
    """Of a model by key. `clock`: Unix seconds."""
    subscriber = ShardsSubscriber(location, by_key, clock, health, registry)
    freshness = ShardFreshness(location.freshness, lambda: subscriber.shards)
    awaiting = None if location.spans is None else ShardsAwaited(lambda: subscriber.shards)
    return Followed(subscriber, subscriber.trial, freshness, awaiting, subscriber.problem)


def _same(before: ServedVersion | None, now: ServedVersion | None) -> bool:
    if before is None or now is None:
        return before is now
    return before.predictor is now.predictor and before.info.version == now.info.version
