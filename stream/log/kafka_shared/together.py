"""What the readers of single partitions ask a cluster again and again, asked once for all of them.

A process may own a hundred shards, each with a reader of its own: which of them has records its broker tells, but
whether the end is still the end, and the topic still the same, each has to ask about once a second.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from thalweg.proto.records import Partition, Records
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, FETCH_WAIT_OF_MANY_MS, ClientError, Consumer, Topic
from thalweg.stream.log.log import LogError

K = TypeVar("K")
V = TypeVar("V")

_FRESH_SECONDS = 0.5
_OLDEST_SECONDS = 1.0  # while somebody waits for the next one
_WANTED_SECONDS = 5.0
_AGAIN_SECONDS = 5.0  # after a question that failed


class Together(Generic[K, V]):
    """One question for all who ask: an answer is told to others for half a second. Thread-safe; one of them waits for
    the answer, the others never do.

    Args:
        ask: Asks for some keys, within so many seconds. Raises ClientError.
        clock: Monotonic seconds.
    """

    def __init__(
        self, ask: Callable[[Sequence[K], float], Mapping[K, V]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = ask, clock
        self._lock = threading.Lock()
        self._wanted: dict[K, float] = {}
        self._known: Mapping[K, V] = {}
        self._asked = self._until = -math.inf
        self._asking = False

    def get(self, keys: Collection[K], timeout_seconds: float) -> dict[K, V] | None:
        """What is known of each of these keys; None: ask alone. It asks for all that were wanted in the last seconds.

        Who asks alone learns what is wrong: with one partition that has no leader the others are well.
        """
        with self._lock:
            now = self._clock()
            self._wanted |= dict.fromkeys(keys, now)
            ours = now >= self._until and not self._asking
            if ours:
                self._asking = True
                self._wanted = {key: at for key, at in self._wanted.items() if now - at < _WANTED_SECONDS}
                wanted = list(self._wanted)
        if ours:
            self._ask_for(wanted, timeout_seconds, now)
        with self._lock:
            known = self._known if self._clock() - self._asked < _OLDEST_SECONDS else {}
        return {key: known[key] for key in keys} if all(key in known for key in keys) else None

    def _ask_for(self, wanted: Sequence[K], timeout_seconds: float, now: float) -> None:
        found: Mapping[K, V] = {}
        until = None
        try:
            found = self._ask(wanted, timeout_seconds)
            until = now + _FRESH_SECONDS
        except (ClientError, LogError):
            pass  # who asks alone is told
        finally:
            with self._lock:
                self._known, self._asked, self._asking = found, now, False
                self._until = self._clock() + _AGAIN_SECONDS if until is None else until


class Shared:
    """The questions that readers of one log share.

    Args:
        ends: As `Consumer.ends`, of any partitions; for any thread.
        topics: As `Consumer.topics`, likewise; None: a consumer knows them without asking.
    """

    def __init__(
        self,
        ends: Callable[[Sequence[Partition], float], Mapping[Partition, int]],
        topics: Callable[[Sequence[str]], Mapping[str, Topic]] | None = None,
    ) -> None:
        self.ends = Together(ends)
        self.topics = None if topics is None else Together(lambda names, _: topics(names))


class OneOfMany:
    """A consumer of one partition that shares its questions with others. See `Consumer`.

    Args:
        consumer: The consumer.
        shared: The questions.
    """

    def __init__(self, consumer: Consumer, shared: Shared) -> None:
        self._consumer, self._shared = consumer, shared
        self._known = False

    def topics(self, names: Sequence[str], fresh: bool = False) -> Mapping[str, Topic]:
        # what it begins with it asks itself: of a topic that was just created again others may know the one before
        if self._known and not fresh and self._shared.topics is not None:
            found = self._shared.topics.get(names, 0.0)
            if found is not None:
                return found
        asked = self._consumer.topics(names, fresh)
        self._known = True
        return asked

    def ends(self, partitions: Sequence[Partition], timeout_seconds: float) -> Mapping[Partition, int]:
        found = self._shared.ends.get(partitions, timeout_seconds)
        if found is not None:
            return found
        # a broker answers one request of a connection after the other: a fetch may be before it
        return self._consumer.ends(partitions, timeout_seconds + FETCH_WAIT_OF_MANY_MS / 1000)

    def bounds(
        self, partitions: Sequence[Partition], timeout_seconds: float = ANSWER_SECONDS
    ) -> Mapping[Partition, tuple[int, int]]:
        return self._consumer.bounds(partitions, timeout_seconds)

    def read(self, offsets: Mapping[Partition, int]) -> None:
        self._consumer.read(offsets)

    def go_to(self, partition: Partition, offset: int) -> None:
        self._consumer.go_to(partition, offset)

    def pause(self, partition: Partition) -> None:
        self._consumer.pause(partition)

    def highest(self, partition: Partition) -> int:
        return self._consumer.highest(partition)

    def passed(self, partition: Partition) -> int:
        return self._consumer.passed(partition)

    def poll(self, timeout_seconds: float, max_records: int) -> list[Records]:
        return self._consumer.poll(timeout_seconds, max_records)

    def commit(self, offsets: Iterable[tuple[Partition, int]], note: str) -> None:
        self._consumer.commit(offsets, note)

    def close(self) -> None:
        self._consumer.close()
