"""A reader of topics in Kafka. Partitions are assigned manually; what is committed to the group is for monitoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from thalweg.proto.records import Headers, Partition, Position, Records
from thalweg.stream.log.kafka_client.batches import UnreadableBatch
from thalweg.stream.log.kafka_client.clients import ANSWER_SECONDS
from thalweg.stream.log.kafka_client.damage import Damage
from thalweg.stream.log.kafka_client.errors import problem_of, text
from thalweg.stream.log.log import Gap, GapCause, Problem, Start

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0  # between two checks for new partitions; for existing topics a check costs nothing
_FIRST_LOOKS_SECONDS = 0.2  # for a missing topic, doubling each time: such a check asks the cluster
_ASK_SECONDS = 1.0  # while no records arrive: is this still the end, is the cluster reachable?
_OFFSET, _TIMESTAMP, _KEY, _VALUE, _HEADERS = (
    ConsumerRecord._fields.index(name) for name in ("offset", "timestamp", "key", "value", "headers")
)
_FIRST_POLL_BYTES = 64 << 10  # the assumed size of a record before one was seen


class KafkaReader:
    """See `Reader`; made by `KafkaLog.reader`.

    Args:
        connect: Opens a consumer.
        topics: The topics.
        after: The last offset read of each partition.
        start: Where partitions begin that are not in `after`.
        commits: Whether positions are committed to the consumer's group.
        unreadable_seconds: Records that cannot be read are skipped after this long.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        topics: Sequence[str],
        after: Position,
        start: Start = "earliest",
        *,
        commits: bool,
        unreadable_seconds: float,
    ) -> None:
        self._connect = connect
        self._topics = list(topics)
        self._after = dict(after)
        self._start = start
        self._commits = commits
        self._next: dict[TopicPartition, int] = {}
        self._identities: dict[str, str] = {}
        self._gaps: list[Gap] = []
        self._held = False  # until the caller knows that a topic begins anew: no block may contain records of both
        self._damage = Damage(unreadable_seconds)
        self._consumer: Any = None
        self._look_after = 0.0
        self._look_wait = _FIRST_LOOKS_SECONDS
        self._found_any = False
        self._idle = True
        self._record_bytes = float(_FIRST_POLL_BYTES)  # recent: Kafka's poll counts records, the reader limits bytes
        self._ends: dict[TopicPartition, int] = {}
        self._ask_after = 0.0
        self._lag: dict[Partition, int] = {}
        self._reached = False
        self._problem: Problem | None = None
        self._forbidden: frozenset[str] = frozenset()
        self._attempt(self._look_for_partitions)

    def seek(self, after: Position) -> None:
        self._after = dict(after)
        self._start = "earliest" if self._found_any else self._start
        self._next.clear()
        self._damage.clear()
        self._lag = {}
        self._look_after = 0.0
        if self._consumer is not None:
            self._attempt(lambda: self._consumer.assign([]))

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            found: list[Records] = self._attempt(lambda: self._poll(deadline, max_records, max_bytes)) or []
            self._idle = not found
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(left, 0.05) if self._held or not self._next else 0)

    def _poll(self, deadline: float, max_records: int, max_bytes: int) -> list[Records]:
        if time.monotonic() >= self._look_after:
            self._look_for_partitions()
        if not self._next or self._held:
            return []
        for part in self._damage.due():
            self._consumer.resume(part)
        try:
            most = max(1, min(max_records, int(max_bytes / self._record_bytes)))
            until = min(deadline, self._look_after, self._damage.next_due())
            polled = self._consumer.poll(max(0, int((until - time.monotonic()) * 1000)), most)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            self._find_place(getattr(error, "divergent_offsets", {}))
            return []
        except UnreadableBatch as error:
            self._heard()
            self._pass_or_wait(error)
            return []
        runs = [self._run(part, records) for part, records in polled.items() if records]
        if count := sum(map(len, runs)):
            self._heard()
            self._record_bytes = max(64.0, sum(run.size_bytes for run in runs) / count)
        return runs

    def _run(self, part: TopicPartition, records: Sequence[Any]) -> Records:
        self._next[part] = records[-1].offset + 1
        self._damage.healed(part)
        columns = list(zip(*records))  # the client's records are tuples
        return Records(
            Partition(part.topic, part.partition),
            columns[_OFFSET],
            [stamp / 1000 for stamp in columns[_TIMESTAMP]],
            columns[_KEY],
            columns[_VALUE],
            [_headers(one) for one in columns[_HEADERS]] if any(columns[_HEADERS]) else columns[_HEADERS],
        )

    def position(self) -> Position:
        known = {Partition(p.topic, p.partition): offset - 1 for p, offset in self._next.items() if offset > 0}
        unknown = {
            partition: last
            for partition, last in self._after.items()
            if TopicPartition(partition.topic, partition.number) not in self._next
        }
        return {**unknown, **known}

    def lag(self) -> Mapping[Partition, int]:
        lags = self._attempt(self._lags)
        if lags is not None:
            self._lag = lags
        return self._lag

    def _lags(self) -> dict[Partition, int]:
        lags: dict[Partition, int] = {}
        if self._idle and self._next and time.monotonic() >= self._ask_after:
            # an unreachable broker looks like an idle one: only a response tells them apart
            self._ask_after = time.monotonic() + _ASK_SECONDS
            self._ends |= self._consumer.end_offsets(list(self._next), timeout_ms=_ASK_SECONDS * 500)
            self._heard()
        for part, following in self._next.items():
            end = max(self._consumer.highwater(part) or 0, self._ends.get(part, 0))
            if self._idle and end > following:  # transaction markers and aborted records are skipped
                following = max(following, self._consumer.position(part, timeout_ms=100) or 0)
            lags[Partition(part.topic, part.partition)] = max(0, end - following)
        return lags

    def reached(self) -> bool:
        return self._reached

    def problem(self) -> Problem | None:
        if self._problem is not None:
            return self._problem
        if self._forbidden:
            names = ", ".join(sorted(self._forbidden))
            return Problem(f"not authorized for the topics {names}; grant READ and DESCRIBE", permanent=True)
        return self._damage.problem()

    def gaps(self) -> list[Gap]:
        found, self._gaps = self._gaps, []
        self._held = False
        return found

    def commit(self, position: Position, note: str = "") -> None:
        if not self._commits or self._consumer is None:
            return
        offsets = {
            TopicPartition(p.topic, p.number): OffsetAndMetadata(offset + 1, note, -1) for p, offset in position.items()
        }
        self._attempt(lambda: self._consumer.commit_async(offsets, callback=_ignore))

    def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            try:
                consumer.close(autocommit=False, timeout_ms=1000)
            except KafkaError as error:
                log.warning("Kafka consumer did not close cleanly", problem=text(error))

    def _attempt(self, action: Callable[[], Any]) -> Any:
        """Run it; None while Kafka is unavailable, which is logged once for each reason."""
        try:
            if self._consumer is None:
                self._consumer = self._connect()
            return action()
        except KafkaError as error:
            self._reached = False
            problem = problem_of(error)
            if self._problem is None or (problem.permanent and not self._problem.permanent):
                told = log.error if problem.permanent else log.warning
                told("Kafka is unavailable: retrying", problem=problem.reason, permanent=problem.permanent)
                self._problem = problem
            time.sleep(0.05)
            return None

    def _heard(self) -> None:
        """Record that Kafka responded."""
        self._reached = True
        self._ask_after = time.monotonic() + _ASK_SECONDS
        if self._problem is not None:
            log.info("Kafka is available again")
            self._problem = None

    def _look_for_partitions(self) -> None:
        """Read every partition of the topics, including new ones, and those of topics that were created again."""
        there = {topic: self._consumer.partitions_for_topic(topic) for topic in self._topics}
        if all(there.values()):
            self._look_wait = _LOOK_SECONDS
        else:  # the cluster was asked and responded
            self._heard()
            self._look_wait = min(2 * self._look_wait, _LOOK_SECONDS)
        self._forbidden = frozenset(self._consumer.forbidden()) & set(self._topics)
        self._look_after = time.monotonic() + self._look_wait
        anew = self._replaced_topics()
        new = [
            part
            for topic, numbers in there.items()
            for number in sorted(numbers)
            if (part := TopicPartition(topic, number)) not in self._next or topic in anew
        ]
        if not new:
            return
        first = self._consumer.beginning_offsets(new, timeout_ms=ANSWER_SECONDS * 1000)
        ends = self._consumer.end_offsets(new, timeout_ms=ANSWER_SECONDS * 1000)
        self._heard()
        self._begin_anew(anew)
        self._ends |= ends
        self._consumer.assign([*self._next, *new])
        for part, offset in self._next.items():
            self._consumer.seek(part, offset)
        for part in new:
            taken = self._after.get(Partition(part.topic, part.partition))
            if taken is None:
                following = first[part] if self._start == "earliest" or self._found_any else ends[part]
            else:
                following = taken + 1
                if following < first[part]:
                    self._lost(part, following, first[part] - 1, "retention")
                    following = first[part]
            self._go_to(part, following)
        self._found_any = True

    def _replaced_topics(self) -> dict[str, str]:
        """The topics that were deleted and created again since they were first seen, with their new identity."""
        present = {topic: found for topic in self._topics if (found := self._consumer.topic_id(topic)) is not None}
        anew = {topic: id for topic, id in present.items() if self._identities.get(topic, id) != id}
        self._identities |= {topic: id for topic, id in present.items() if topic not in anew}
        return anew

    def _begin_anew(self, anew: Mapping[str, str]) -> None:
        """Forget the positions in these topics: they are those of the deleted ones."""
        for part, following in list(self._next.items()):
            if part.topic in anew:
                # what waited when the lag was last told: later figures may be those of the new topic
                waited = self._lag.pop(Partition(part.topic, part.partition), 0)
                self._lost(part, following, following + waited - 1, "replaced")
                self._ends.pop(part, None)
                self._damage.forget(part)
                del self._next[part]
        for partition in list(self._after):
            if partition.topic in anew:
                del self._after[partition]
        self._identities |= anew

    def _find_place(self, divergent: Mapping[TopicPartition, Any]) -> None:
        """The next offset does not exist: retention has overtaken it, or the topic is another or shorter one.

        `divergent`: where the present log diverges from what was read, for the partitions of which the broker knows it.
        """
        self._consumer.refresh()
        self._look_for_partitions()  # notices a topic that was created again
        if self._held:
            return
        parts = list(self._next)
        first = self._consumer.beginning_offsets(parts, timeout_ms=ANSWER_SECONDS * 1000)
        ends = self._consumer.end_offsets(parts, timeout_ms=ANSWER_SECONDS * 1000)
        for part in parts:
            following = self._next[part]
            end = ends[part] if divergent.get(part) is None else min(ends[part], divergent[part].offset)
            if following < first[part]:
                self._lost(part, following, first[part] - 1, "retention")
                following = first[part]
            elif following > end and part.topic in self._identities:
                log.error(
                    "records that were read are gone from the log: continuing where it ends",
                    partition=f"{part.topic}/{part.partition}",
                    read=following - 1,
                    end=end,
                )
                following = end
            elif following > end:  # a broker without identities
                self._lost(part, following, max(following, self._ends.get(part, 0)) - 1, "replaced")
                following = first[part]
            self._go_to(part, following)

    def _pass_or_wait(self, error: UnreadableBatch) -> None:
        """Fetch a batch anew that cannot be read; skip it when that has not helped for long."""
        self._consumer.refresh()
        self._look_for_partitions()  # a batch of another topic of this name looks damaged, too
        if self._held or error.part not in self._next:
            return
        following = self._next[error.part]
        end = self._consumer.end_offsets([error.part], timeout_ms=ANSWER_SECONDS * 1000)[error.part]
        skipped = self._damage.met(error, following, end)
        if skipped is None:
            self._consumer.pause(error.part)
            return
        self._lost(error.part, following, skipped, "unreadable", f"{error.codec or 'unknown codec'}: {error.reason}")
        self._go_to(error.part, skipped + 1)

    def _lost(self, part: TopicPartition, first: int, last: int, cause: GapCause, detail: str = "") -> None:
        self._gaps.append(Gap(Partition(part.topic, part.partition), first, last, cause, detail))
        self._held = self._held or cause == "replaced"

    def _go_to(self, part: TopicPartition, offset: int) -> None:
        self._next[part] = offset
        self._consumer.seek(part, offset)
        self._consumer.resume(part)


def _headers(headers: Headers) -> Headers:
    """Kafka allows headers without a value; they are read as empty."""
    return [(name, b"" if value is None else value) for name, value in headers]


def _ignore(*_: object) -> None:
    """A commit is for monitoring only; one that is lost is followed by another."""
