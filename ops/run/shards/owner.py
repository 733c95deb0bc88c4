"""The shards of one model that this process owns: begun when the group assigns them, ended when it revokes them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.resources.open_files import OpenFiles
from thalweg.ops.run.shards.topic import TopicPartitions
from thalweg.proto.records import Position
from thalweg.stream.health.registry import Health
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.kafka_shared.members import Fenced
from thalweg.stream.log.log import LogError, PermanentLogError
from thalweg.stream.shards.one_partition import Commit

log = structlog.get_logger(__name__)

RELEASE_SECONDS = 5.0
"""The longest wait for shards that are revoked: half of the group's usual session timeout."""
_POLL_SECONDS = 0.2
_AGAIN_SECONDS = 1.0
_COLLECT_SECONDS = 2.0  # after the end of a shard: not while others wait for partitions


class Shard(Protocol):
    """One shard at work."""

    def start(self) -> None:
        """Start it; does not wait."""

    def stop(self) -> None:
        """Ask it to save and end; does not wait."""

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for its end; whether it has ended."""


class Others(Protocol):
    """Who else may be in the group that must not be."""

    @property
    def reason(self) -> str:
        """Who is there, as far as is known; empty: nobody."""

    @property
    def strangers(self) -> str:
        """Members that learn nothing, as far as is known; empty: none."""

    def start(self) -> None:
        """Start to ask, and wait a little for the first answer."""

    def close(self) -> None:
        """Stop asking."""


class Shards:
    """A part that takes part in the group of a model, and runs the shards that it is assigned.

    Args:
        model: The model.
        join: Makes this process a member of the group.
        make: Makes the shard of a partition, given where it commits its positions, and the shard of that partition
            before it, which may still be ending.
        forget: Told of a partition whose shard has ended, and is not this process's any more.
        health: Its health.
        release_seconds: The longest wait for shards that are revoked.
        topic: What is known of the model's topic; None: it is there.
        others: Learners of other services: while there are some it does not join.
    """

    def __init__(
        self,
        model: str,
        join: Callable[[GroupListener], GroupMember],
        make: Callable[[int, Commit, Shard | None], Shard],
        forget: Callable[[int], None],
        health: Health,
        release_seconds: float = RELEASE_SECONDS,
        topic: TopicPartitions | None = None,
        *,
        others: Others,
    ) -> None:
        self._model, self._join, self._make, self._health = model, join, make, health
        self._forget, self._release_seconds, self._topic = forget, release_seconds, topic
        self._others = others
        self._lock = threading.Lock()
        self._owned: dict[int, Shard] = {}
        self._ending: dict[int, Shard] = {}
        self._positions: dict[str, Position] = {}
        self._stopping = threading.Event()
        self._given_up: str | None = None
        self._collect_at: float | None = None
        self._files = OpenFiles()

    @property
    def owned(self) -> tuple[int, ...]:
        """The partitions that are its own, in order."""
        with self._lock:
            return tuple(sorted(self._owned))

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()

    def give_up(self, why: str) -> None:
        """Leave the group, as what is assigned here can never be learned here: another process may. Any thread may
        call it.
        """
        self._given_up = why

    def run(self) -> None:
        """Take part until `stop`; then end the shards, each with its state saved.

        Raises:
            ConfigurationError: Another process has joined under this process's name.
        """
        self._others.start()
        try:
            while self._others.reason and not self._stopping.is_set():
                self._health.failed(self._others.reason)
                self._stopping.wait(_AGAIN_SECONDS)
            if not self._stopping.is_set():
                self._take_part()
        finally:
            self._others.close()

    def _take_part(self) -> None:
        member = self._join(self)
        try:
            while not self._stopping.is_set() and self._given_up is None:
                self._look(member)
        finally:
            self._release(self.owned, None)
            try:
                self._commit(member)
                member.poll(0.0)
            except LogError as error:
                log.warning("the last positions are not committed", model=self._model, problem=str(error))
            member.close()
        if self._given_up is not None:
            log.error("left the group, another process may learn it", model=self._model, why=self._given_up)
        while self._given_up is not None and not self._stopping.is_set():
            self._health.failed(f"left the group, so that another process may learn it: {self._given_up}")
            self._stopping.wait(_AGAIN_SECONDS)

    def _look(self, member: GroupMember) -> None:
        self._commit(member)
        self._sweep()
        self._collect()
        try:
            member.poll(_POLL_SECONDS)
        except Fenced as error:
            raise ConfigurationError([str(error)]) from error
        except PermanentLogError as error:
            self._health.failed(str(error))
            self._stopping.wait(_AGAIN_SECONDS)
        except LogError as error:
            self._health.waiting(str(error))
            self._stopping.wait(_AGAIN_SECONDS)
        else:
            if self._others.reason:
                self._health.degraded(self._others.reason)
            elif self._others.strangers:
                self._health.degraded(self._others.strangers)
            elif reason := self._idle():
                self._health.waiting(reason)
            elif reason := self._files.nearly_out(len(self.owned)):
                self._health.degraded(reason)
            else:
                self._health.running()

    def _idle(self) -> str:
        """What it waits for while it owns nothing, as far as the topic tells: there is no shard then that would. A
        group that cannot be reached may look like one that has no partition for this process.
        """
        if self._topic is None or self.owned:
            return ""
        if self._topic.missing:
            return f"topic {self._topic.topic!r} does not exist (or has no partitions) yet"
        return self._topic.problem

    def _commit(self, member: GroupMember) -> None:
        with self._lock:
            waiting, self._positions = self._positions, {}
        for note, position in waiting.items():
            member.commit(position, note)

    # -- told by the group

    def assigned(self, numbers: Collection[int]) -> None:
        log.info("partitions are assigned to this process", model=self._model, partitions=list(numbers))
        for number in numbers:
            with self._lock:
                if number in self._owned or self._stopping.is_set():
                    continue
                shard = self._owned[number] = self._make(number, self._noted(number), self._ending.pop(number, None))
            shard.start()

    def revoked(self, numbers: Collection[int]) -> None:
        log.info("partitions are revoked: they will be another process's", model=self._model, partitions=list(numbers))
        began = time.monotonic()
        self._release(numbers, self._release_seconds)
        seconds = round(time.monotonic() - began, 3)
        log.info("partitions are released", model=self._model, partitions=list(numbers), seconds=seconds)

    def lost(self, numbers: Collection[int]) -> None:
        log.warning(
            "partitions are lost: this process was not heard of for too long",
            model=self._model,
            partitions=list(numbers),
        )
        self._release(numbers, 0.0)

    def _release(self, numbers: Collection[int], within_seconds: float | None) -> None:
        with self._lock:
            ending = {number: shard for number in numbers if (shard := self._owned.pop(number, None)) is not None}
            self._ending |= ending
        for shard in ending.values():
            shard.stop()
        until = None if within_seconds is None else time.monotonic() + within_seconds
        for number, shard in ending.items():
            if not shard.join(None if until is None else max(0.0, until - time.monotonic())) and within_seconds:
                log.warning(
                    "a shard is still being saved: its next owner begins with what was saved before",
                    model=self._model,
                    partition=number,
                    seconds=within_seconds,
                )
        self._sweep()

    def _sweep(self) -> None:
        """Forget the shards that have ended since they were released."""
        with self._lock:
            ended = [number for number, shard in self._ending.items() if shard.join(0.0)]
            for number in ended:
                del self._ending[number]
        for number in ended:
            self._forget(number)
            if self._collect_at is None:  # else shards that come and go would put it off for ever
                self._collect_at = time.monotonic() + _COLLECT_SECONDS

    def _collect(self) -> None:
        """Release the memory and the files of shards that have ended. They refer to themselves, and the collector goes
        by how many objects there are, not by what they hold: it may leave a large state for hours.
        """
        if self._collect_at is not None and time.monotonic() >= self._collect_at:
            self._collect_at = None
            gc.collect()

    def _noted(self, number: int) -> Commit:
        def commit(position: Position, note: str) -> None:
            with self._lock:
                if number in self._owned or number in self._ending:
                    self._positions[note] = {**self._positions.get(note, {}), **position}

        return commit
