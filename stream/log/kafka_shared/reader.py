"""A reader of topics in Kafka. Partitions are assigned manually; what is committed to the group is for monitoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.log.kafka_shared.away import Away
from thalweg.stream.log.kafka_shared.consumer import (
    ANSWER_SECONDS,
    ClientError,
    Consumer,
    OffsetGone,
    Topic,
    UnreadableBatch,
)
from thalweg.stream.log.kafka_shared.damage import Damage
from thalweg.stream.log.kafka_shared.held_back import HeldBack
from thalweg.stream.log.log import Gap, GapCause, LogError, PermanentLogError, Problem, Start

log = structlog.get_logger(__name__)

T = TypeVar("T")

_LOOK_SECONDS = 2.0  # between two checks for new partitions; for existing topics a check costs nothing
_FIRST_LOOKS_SECONDS = 0.2  # for a missing topic, doubling each time: such a check asks the cluster
_ASK_SECONDS = 1.0  # while no records arrive: is this still the end, is the cluster reachable?
_ASK_SILENT_SECONDS = 5.0  # while records arrive: are those within reach that have none?
_FIRST_POLL_BYTES = 64 << 10  # the assumed size of a record before one was seen


class KafkaReader:
    """See `Reader`; made by the `reader` of a log.

    Args:
        connect: Opens a consumer.
        topics: The topics.
        after: The last offset read of each partition.
        start: Where partitions begin that are not in `after`.
        commits: Whether positions are committed to the consumer's group.
        unreadable_seconds: Records that cannot be read are skipped after this long.
        partition: Of each topic, the only partition that is read; None: all.
    """

    def __init__(
        self,
        connect: Callable[[], Consumer],
        topics: Sequence[str],
        after: Position,
        start: Start = "earliest",
        *,
        commits: bool,
        unreadable_seconds: float,
        partition: int | None = None,
    ) -> None:
        self._connect = connect
        self._topics = list(topics)
        self._after = dict(after)
        self._start = start
        self._commits = commits
        self._only = partition
        self._next: dict[Partition, int] = {}
        self._identities: dict[str, str] = {}
        self._gaps: list[Gap] = []
        self._held = False  # until the caller knows that a topic begins anew, or earlier: no block has records of both
        self._damage = Damage(unreadable_seconds)
        self._held_back = HeldBack()
        self._away = Away()
        self._came: set[Partition] = set()  # of which records came since the ends were asked for
        self._consumer: Consumer | None = None
        self._look_after = 0.0
        self._look_wait = _FIRST_LOOKS_SECONDS
        self._found_any = False
        self._idle = True
        self._record_bytes = float(_FIRST_POLL_BYTES)  # recent: Kafka's poll counts records, the reader limits bytes
        self._ends: dict[Partition, int] = {}
        self._ask_after = self._ask_silent_after = 0.0
        self._lag: dict[Partition, int] = {}
        self._reached = False
        self._problem: Problem | None = None
        self._forbidden: frozenset[str] = frozenset()
        self._deleted: frozenset[str] = frozenset()
        self._attempt(self._look_for_partitions)

    def seek(self, after: Position) -> None:
        self._after = dict(after)
        self._start = "earliest" if self._found_any else self._start
        self._next.clear()
        self._damage.clear()
        self._lag = {}
        self._look_after = 0.0
        if (consumer := self._consumer) is not None:
            self._attempt(lambda _: consumer.read({}))

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            found: list[Records] = (
                self._attempt(lambda consumer: self._poll(consumer, deadline, max_records, max_bytes)) or []
            )
            self._idle = not found
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(left, 0.05) if self._held or not self._next else 0)

    def _poll(self, consumer: Consumer, deadline: float, max_records: int, max_bytes: int) -> list[Records]:
        if time.monotonic() >= self._look_after:
            self._look_for_partitions(consumer)
        if not self._next or self._held:
            return []
        for part in self._damage.due():
            consumer.go_to(part, self._next[part])
        try:
            most = max(1, min(max_records, int(max_bytes / self._record_bytes)))
            until = min(deadline, self._look_after, self._damage.next_due())
            runs = consumer.poll(max(0.0, until - time.monotonic()), most)
        except OffsetGone as error:
            self._find_place(consumer, error.divergent)
            return []
        except UnreadableBatch as error:
            self._heard()
            self._pass_or_wait(consumer, error)
            return []
        for run in runs:
            self._next[run.partition] = run.offsets[-1] + 1
            self._damage.healed(run.partition)
            self._came.add(run.partition)
        if count := sum(map(len, runs)):
            self._heard()
            self._away.back([run.partition for run in runs])
            self._record_bytes = max(64.0, sum(run.size_bytes for run in runs) / count)
        return runs

    def position(self) -> Position:
        unknown = {partition: last for partition, last in self._after.items() if partition not in self._next}
        return {**unknown, **{part: offset - 1 for part, offset in self._next.items() if offset > 0}}

    def lag(self) -> Mapping[Partition, int]:
        lags = self._attempt(self._lags)
        if lags is not None:
            self._lag = lags
        return self._lag

    def _lags(self, consumer: Consumer) -> dict[Partition, int]:
        lags: dict[Partition, int] = {}
        self._ask_for_ends(consumer)
        for part, following in self._next.items():
            if part in self._away:
                continue
            end = max(consumer.highest(part), self._ends.get(part, 0))
            if self._idle and end > following:  # transaction markers and aborted records are skipped
                following = max(following, consumer.passed(part))
            lags[part] = max(0, end - following)
        return lags

    def _ask_for_ends(self, consumer: Consumer) -> None:
        """An unreachable broker looks like an idle one: only a response tells them apart."""
        now = time.monotonic()
        if not self._next or now < (self._ask_after if self._idle else self._ask_silent_after):
            return
        self._ask_after, self._ask_silent_after = now + _ASK_SECONDS, now + _ASK_SILENT_SECONDS
        there = [part for part in self._next if part.topic not in self._deleted]
        if not self._idle:
            there = [part for part in there if part not in self._came]
        self._came.clear()
        asked = self._away.due(there)
        stable = self._away.answered(asked, lambda parts, _: consumer.ends(parts, _ASK_SECONDS / 2)) if asked else {}
        self._ends |= stable
        self._heard()
        self._held_back.keep(self._next)
        for part, end in stable.items():
            self._held_back.look(part, max(self._next[part], consumer.passed(part)), end, consumer.highest(part))

    def reached(self) -> bool:
        return self._reached and not self._away

    def problem(self) -> Problem | None:
        if self._problem is not None:
            return self._problem
        if self._forbidden:
            names = ", ".join(sorted(self._forbidden))
            return Problem(f"not authorized for the topics {names}; grant READ and DESCRIBE", permanent=True)
        if self._deleted:
            names = ", ".join(sorted(self._deleted))
            return Problem(
                f"deleted from the cluster, and read from their beginning once created again: topics {names}"
            )
        others = any(part not in self._away for part in self._next)
        return self._away.problem(others) or self._damage.problem() or self._held_back.problem()

    def gaps(self) -> list[Gap]:
        found, self._gaps = self._gaps, []
        self._held = False
        return found

    def commit(self, position: Position, note: str = "") -> None:
        if not self._commits or self._consumer is None:
            return
        self._attempt(lambda consumer: consumer.commit(self._committed(consumer, position), note))

    def _committed(self, consumer: Consumer, position: Position) -> list[tuple[Partition, int]]:
        """The next offsets, beyond markers of transactions and aborted records where nothing else is left: those who
        look on count them as lag.
        """
        found = []
        for part, offset in position.items():
            all_taken = self._idle and self._next.get(part) == offset + 1
            found.append((part, max(offset + 1, consumer.passed(part)) if all_taken else offset + 1))
        return found

    def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            try:
                consumer.close()
            except ClientError as error:
                log.warning("Kafka consumer did not close cleanly", problem=str(error))

    def _attempt(self, action: Callable[[Consumer], T]) -> T | None:
        """Run it; None while Kafka is unavailable, which is logged once for each reason."""
        try:
            if self._consumer is None:
                self._consumer = self._connect()
            return action(self._consumer)
        except ClientError as error:
            self._reached = False
            problem = error.problem
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

    def _look_for_partitions(self, consumer: Consumer, fresh: bool = False) -> None:
        """Read every partition of the topics, including new ones, and those of topics that were created again."""
        found = consumer.topics(self._topics, fresh)
        if all(topic.partitions for topic in found.values()):
            self._look_wait = _LOOK_SECONDS
        else:  # the cluster was asked and responded
            self._heard()
            self._look_wait = min(2 * self._look_wait, _LOOK_SECONDS)
        self._forbidden = frozenset(name for name, topic in found.items() if topic.forbidden)
        self._look_after = time.monotonic() + self._look_wait
        absent = {name for name, topic in found.items() if not topic.partitions and not topic.forbidden}
        self._deleted = frozenset(absent & {part.topic for part in self._next})
        anew = self._replaced_topics(found)
        new = [
            part
            for name, topic in found.items()
            for number in sorted(topic.partitions)
            if self._only in (None, number) and ((part := Partition(name, number)) not in self._next or name in anew)
        ]
        self._away.keep([Partition(name, number) for name, topic in found.items() for number in topic.partitions])
        if not (new := self._away.due(new)):
            return
        bounds = self._away.answered(new, consumer.bounds)
        self._heard()
        if not bounds:
            return
        self._begin_anew(anew)
        self._ends |= {part: end for part, (_, end) in bounds.items()}
        for part, (first, end) in bounds.items():
            taken = self._after.get(part)
            if taken is None:
                following = first if self._start == "earliest" or self._found_any else end
            else:
                following = taken + 1
                if following < first:
                    self._lost(part, following, first - 1, "retention")
                    following = first
            self._next[part] = following
        consumer.read(self._next)
        self._found_any = True

    def _replaced_topics(self, found: Mapping[str, Topic]) -> dict[str, str]:
        """The topics that were deleted and created again since they were first seen, with their new identity."""
        present = {name: topic.identity for name, topic in found.items() if topic.identity is not None}
        anew = {topic: id for topic, id in present.items() if self._identities.get(topic, id) != id}
        self._identities |= {topic: id for topic, id in present.items() if topic not in anew}
        return anew

    def _begin_anew(self, anew: Mapping[str, str]) -> None:
        """Forget the positions in these topics: they are those of the deleted ones."""
        for part, following in list(self._next.items()):
            if part.topic in anew:
                # what waited when the lag was last told: later figures may be those of the new topic
                waited = self._lag.pop(part, 0)
                self._lost(part, following, following + waited - 1, "replaced")
                self._ends.pop(part, None)
                self._damage.forget(part)
                del self._next[part]
        for partition in list(self._after):
            if partition.topic in anew:
                del self._after[partition]
        self._identities |= anew

    def _find_place(self, consumer: Consumer, divergent: Position) -> None:
        """The next offset does not exist: retention has overtaken it, or the topic is another or shorter one.

        `divergent`: where the present log diverges from what was read, for the partitions of which the broker knows it.
        """
        self._look_for_partitions(consumer, fresh=True)  # notices a topic that was created again
        if self._held:
            return
        for part, (first, last_end) in self._away.answered(self._away.due(self._next), consumer.bounds).items():
            following = self._next[part]
            if self._idle:  # what was passed without being returned is not lost
                following = max(following, min(consumer.passed(part), last_end))
            end = min(last_end, divergent.get(part, last_end))
            if following < first:
                self._lost(part, following, first - 1, "retention")
                following = first
            elif following > end and part.topic in self._identities:
                self._lost(part, end, following - 1, "rewound")
                following = end
            elif following > end:  # a broker without identities
                self._lost(part, following, max(following, self._ends.get(part, 0)) - 1, "replaced")
                following = first
            self._go_to(consumer, part, following)

    def _pass_or_wait(self, consumer: Consumer, error: UnreadableBatch) -> None:
        """Fetch a batch anew that cannot be read; skip it when that has not helped for long."""
        self._look_for_partitions(consumer, fresh=True)  # a batch of another topic of this name looks damaged, too
        if self._held or error.part not in self._next:
            return
        following = self._next[error.part]
        end = consumer.ends([error.part], ANSWER_SECONDS)[error.part]
        skipped = self._damage.met(error, following, end)
        if skipped is None:
            consumer.pause(error.part)
            return
        self._lost(error.part, following, skipped, "unreadable", f"{error.codec or 'unknown codec'}: {error.reason}")
        self._go_to(consumer, error.part, skipped + 1)

    def _lost(self, part: Partition, first: int, last: int, cause: GapCause, detail: str = "") -> None:
        self._gaps.append(Gap(part, first, last, cause, detail))
        self._held = self._held or cause in ("replaced", "rewound")

    def _go_to(self, consumer: Consumer, part: Partition, offset: int) -> None:
        self._next[part] = offset
        consumer.go_to(part, offset)


def latest_known(reader: KafkaReader, topics: Sequence[str]) -> KafkaReader:
    """The reader, if it knows where it starts; else closes it and raises LogError: the latest offset is unknown."""
    if reader.reached():
        return reader
    problem = reader.problem()
    reader.close()
    kind = PermanentLogError if problem is not None and problem.permanent else LogError
    reason = "" if problem is None else f" ({problem.reason})"
    raise kind(f"topics {', '.join(topics)}: Kafka is unavailable, so the latest offset is unknown{reason}")
