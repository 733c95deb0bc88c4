"""Late labels: joined with their events; the joined events are appended to the log to be learned.

The joined event is a normal record of the topic `<model>.joined`, which the model reads in addition to its own. So a
model stays a function of the log, whatever the order and delay of labels and whatever the store has lost.

One thread runs a joiner. Its only state is its position: a label is processed when the joined event is in the log, or
the label in the dead letters. If it is killed in between, it appends the event a second time, and the model drops the
duplicate by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import structlog

from thalweg.memory.exchange.pending import Pending, Waiting
from thalweg.proto.bounds.limits import MAX_FUTURE_SECONDS
from thalweg.proto.bounds.times import record_times
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import to_events
from thalweg.proto.event import Batch
from thalweg.proto.framing.framing import Unframing
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Reason, Refused, Rejected, is_tombstone
from thalweg.proto.schema import Schema
from thalweg.stream.exceptions import first_line
from thalweg.stream.health.reading import report_reading
from thalweg.stream.health.registry import Health
from thalweg.stream.labels.join_observer import JoinObserver, JoinReadingObserver
from thalweg.stream.labels.label_records import joined_event, label_of, unframed_label
from thalweg.stream.labels.place import PlaceKeeper, SharedPlace
from thalweg.stream.labels.store_reach import StoreReach
from thalweg.stream.labels.to_shards import ToShards, placed, unplaced
from thalweg.stream.labels.waiting import Label, WaitingLabels
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.identity import diverged, identities, replaced
from thalweg.stream.log.log import GAP_TEXTS, Log, LogError, LogReplaced, Message, Reader, RecordsRefused, gap_fields
from thalweg.stream.log.refused import append_possible
from thalweg.stream.registry.schemas import KnownSchemas
from thalweg.stream.retry import Retry, Stopped
from thalweg.stream.runtime import REAL, Runtime

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")
_Some = TypeVar("_Some", Records, Sequence[Label])

JOINER_ERROR: Reason = "joiner_error"

JOIN_AT_ONCE = 500
_IDLE_SECONDS = 0.05
_LOOK_AGAIN_SECONDS = 0.25  # for the events of labels that arrived before them
_LAG_SECONDS = 1.0  # between two reports of what waits to be read


@dataclass(frozen=True, kw_only=True)
class JoinSettings:
    """Settings of one joiner."""

    model: str
    topic: str
    """The model's topic: its events with an id and without a label wait for one."""
    labels_topic: str
    """Where labels come: `{"id": …, "label": …}`."""
    joined_topic: str
    """Topic of joined events."""
    label_seconds: float = 86_400.0
    """How long a label waits for its event."""
    max_future_seconds: float = MAX_FUTURE_SECONDS
    """As of the model: events that it refuses wait for no label."""


@dataclass(frozen=True, kw_only=True)
class JoinHealth:
    """The health that a joiner reports."""

    joiner: Health = field(default_factory=lambda: Health("joiner"))
    """The joiner's own."""
    store: Health = field(default_factory=lambda: Health("join_store"))
    """Whether the store of pending events can be reached."""


class Joiner:
    """Joins one model's labels.

    Args:
        settings: Which topics.
        source: The log.
        pending: The store of pending events.
        schema: The schema of the model's events.
        place: The file of the joiner's position; its folder exists.
        dead_letters: Receives invalid labels and those without an event.
        observer: Receives what happens.
        runtime: Clocks and waits.
        health: Where it reports its health; None: nowhere.
        schemas: The schemas of events and labels framed for a schema registry, for this joiner alone; None: there are
            none.
        shared: Where it finds and leaves its position for joiners of other hosts; None: there are none.
        to_shards: Gives joined events the partitions of their events; None: all are one model's.
    """

    def __init__(
        self,
        settings: JoinSettings,
        source: Log,
        pending: Pending,
        schema: Schema,
        place: Path,
        dead_letters: DeadLetters,
        observer: JoinObserver,
        runtime: Runtime = REAL,
        health: JoinHealth | None = None,
        schemas: KnownSchemas | None = None,
        shared: SharedPlace | None = None,
        to_shards: ToShards | None = None,
    ) -> None:
        health = health if health is not None else JoinHealth()
        self._settings, self._source, self._pending, self._schema = settings, source, pending, schema
        self._dead_letters, self._observer, self._health = dead_letters, observer, health.joiner
        self._clock, self._ticks = runtime.clock, runtime.ticks
        self._stopping = runtime.signal()
        self._store = StoreReach(settings.model, health.store, observer)
        self._retrying = Retry(settings.model, self._health, self._stopping, self._store.failed)
        self._decoder = Decoder(schema, max_future_seconds=settings.max_future_seconds, schemas=schemas)
        self._schemas, self._unframing = schemas, None if schemas is None else Unframing(schemas)
        self._waiting = WaitingLabels()
        self._place, self._to_shards = PlaceKeeper(place, runtime.ticks, shared), to_shards
        self._sent: set[tuple[Partition, int]] = set()
        self._reading = observer if isinstance(observer, JoinReadingObserver) else None
        self._lag_told_at = float("-inf")
        self._looked_at = self._ticks()
        self._reader: Reader | None = None

    def stop(self) -> None:
        """Ask `run` to finish its current work and return."""
        self._stopping.set()

    def run(self, *, until_end: bool = False) -> None:
        """Join until stopped, or until the log has no more records."""
        with suppress(Stopped), self.following() as turn:
            while not self._stopping.is_set():
                if not turn() and until_end and self._at_end():
                    break

    @contextmanager
    def following(self) -> Iterator[Callable[[], bool]]:
        """Open the log; within the block, each call of the result is one turn of the loop. It returns whether there
        were records. For callers with a loop of their own.
        """
        topics, group = [self._settings.labels_topic, self._settings.topic], f"thalweg.{self._settings.model}.joiner"
        self._sent = self._retry("dead letters", self._dead_letters.recently_sent)
        self._retry("position of the join", self._place.fetch)
        self._follow_identities(topics)
        self._retry("log", lambda: self._follow_older_copy(topics))
        with closing(
            self._retry("log", lambda: self._source.reader(topics, self._place.end, "earliest", group))
        ) as reader:
            self._reader = reader
            try:
                yield partial(self._turn, reader)
            finally:
                self._save_place()

    def _turn(self, reader: Reader) -> bool:
        runs = reader.poll(_IDLE_SECONDS, JOIN_AT_ONCE)
        self._watch(reader)
        for run in runs:
            self._take(run)
        self._join(fresh=[run for run in runs if run.partition.topic == self._settings.labels_topic])
        if self._place.save_due():
            self._save_place()
        report_reading(self._health, reader)
        return bool(runs)

    def _at_end(self) -> bool:
        return self._reader is not None and not any(self._reader.lag().values()) and self._reader.reached()

    def _follow_identities(self, topics: Sequence[str]) -> None:
        """Read the topics from their beginning that were deleted and created again since the position was saved."""
        present = self._retry("log", lambda: identities(self._source, topics))
        for topic in replaced(self._place.log_identity, present):
            log.error(GAP_TEXTS["replaced"], model=self._settings.model, topic=topic, read=self._read_again(topic))
        if self._place.identify(present):
            self._place.save(self._waiting)

    def _follow_older_copy(self, topics: Sequence[str]) -> None:
        """Go on where the log is an older copy of the one that was read: what was joined stays so."""
        for topic in topics:
            if not (read := self._place.log_epochs.get(topic, ())):
                continue  # nothing can be told, and of Kafka a partition may be out of reach
            present = self._source.epochs(topic)
            for part, (_, following) in self._source.bounds(topic).items():
                first = diverged(read, present, following, self._place.end.get(part, -1))
                if first is not None:
                    log.error(GAP_TEXTS["rewound"], model=self._settings.model, partition=str(part), continues_at=first)
                    self._place.read_on_at(part, first)

    def _save_place(self) -> None:
        """Save the position, and which log it belongs to."""
        topics = [self._settings.labels_topic, self._settings.topic]
        try:
            self._place.log_epochs = {topic: found for topic in topics if (found := self._source.epochs(topic))}
        except LogError:  # those of an earlier position would say what is wrong
            self._place.log_epochs = {}
        self._place.save(self._waiting)

    def _read_again(self, topic: str) -> dict[str, int]:
        """Read a topic from its beginning, where other records may be than before; returns how far it was read."""
        self._sent = {at for at in self._sent if at[0].topic != topic}
        return self._place.forget(topic)

    def _watch(self, reader: Reader) -> None:
        """Tell what was not read, and how much waits to be."""
        for gap in reader.gaps():
            log.error(GAP_TEXTS[gap.cause], model=self._settings.model, **gap_fields(gap))
            if gap.cause == "replaced":
                self._follow_identities([gap.partition.topic])
            if gap.cause == "rewound":
                self._place.read_on_at(gap.partition, gap.first)
            if self._reading is not None and gap.partition.topic == self._settings.labels_topic:
                self._reading.lost(gap)  # the learner reports those of its own topic
        now = self._ticks()
        if self._reading is not None and now - self._lag_told_at >= _LAG_SECONDS:
            self._lag_told_at = now
            self._reading.labels_lag(reader.lag())

    # -- reading records ----------------------------------------------------------------------------------------------

    def _take(self, run: Records) -> None:
        if self._schemas is not None:
            self._retrying("schema registry", partial(self._schemas.prepare, run))
        if run.partition.topic == self._settings.labels_topic:
            self._take_labels(run)
        else:
            self._take_events(run)
        self._place.took(run)

    def _take_events(self, run: Records) -> None:
        self._in_halves(
            run,
            self._store_events,
            lambda one, error: self._set_aside(one, [Rejected(0, JOINER_ERROR, first_line(error))]),
        )

    def _store_events(self, run: Records) -> None:
        """Store events without a label; invalid records are left to the learner."""
        batch = self._decoder.decode(run).batch
        if batch.ids is None:
            return
        present = None if batch.labels is None else batch.labels.present
        rows = [row for row, id in enumerate(batch.ids) if id is not None and (present is None or not present[row])]
        if not rows:
            return
        entries = entries_of(batch, rows)
        if self._to_shards is not None:
            entries = [(id, moment, placed(value, run.partition.number)) for id, moment, value in entries]
        self._retry("waiting events", lambda: self._pending.remember(self._settings.model, entries))

    def _take_labels(self, run: Records) -> None:
        bad, tombstones = [], 0
        for row, value in enumerate(run.values):
            if is_tombstone(value):
                tombstones += 1
                continue
            try:
                unframed = unframed_label(value, self._unframing, run.partition, run.offsets[row])
                record = label_of(unframed, self._schema)
            except Refused as error:
                bad.append(Rejected(row, error.reason, str(error)))
            except Exception as error:  # one record must not end the thread, which would only read it again
                bad.append(Rejected(row, JOINER_ERROR, first_line(error)))
            else:
                deadline = self._deadline(run.times[row])
                self._waiting.add(Label(run[row : row + 1], record.id, record.label, deadline))
        self._set_aside(run, bad)
        if tombstones:
            self._observer.tombstones(tombstones)

    def _deadline(self, record_time: float) -> float:
        """How long a label waits: a record's time is its producer's word, so it may be early but never ahead."""
        now, (said,) = self._clock(), record_times([record_time])
        return (min(said, now) if said else now) + self._settings.label_seconds

    def _set_aside(self, run: Records, rejected: Sequence[Rejected]) -> None:
        unsent = [one for one in rejected if (run.partition, run.offsets[one.row]) not in self._sent]
        if unsent:
            self._retry("dead letters", lambda: self._dead_letters.send(run, unsent))
            for one in unsent:
                self._observer.dead_lettered({one.reason: 1})

    def _in_halves(
        self, some: _Some, action: Callable[[_Some], None], failed: Callable[[_Some, Exception], None]
    ) -> None:
        try:
            action(some)
        except (Stopped, LogReplaced):
            raise
        except Exception as error:
            if len(some) > 1:
                half = len(some) // 2
                self._in_halves(some[:half], action, failed)
                self._in_halves(some[half:], action, failed)
                return
            log.error("cannot be joined: kept as a dead letter", model=self._settings.model, exc_info=error)
            failed(some, error)

    # -- joining ------------------------------------------------------------------------------------------------------

    def _join(self, fresh: Sequence[Records]) -> None:
        """Join new labels, and periodically retry those without an event."""
        now = self._ticks()
        if now - self._looked_at >= _LOOK_AGAIN_SECONDS:
            self._looked_at = now
            labels = self._waiting.all()
        else:
            labels = self._waiting.of(fresh)
        for start in range(0, len(labels), JOIN_AT_ONCE):
            self._in_halves(labels[start : start + JOIN_AT_ONCE], self._join_some, self._cannot_join)
        self._give_up()

    def _join_some(self, labels: Sequence[Label]) -> None:
        model, ids = self._settings.model, [label.id for label in labels]
        found = self._retry("waiting events", lambda: self._pending.find(model, ids))
        told: dict[str, tuple[Label, Waiting]] = {}
        done = [label for label, event in zip(labels, found) if event is not None]
        for label, event in zip(labels, found):
            if event is not None and not event.joined:
                told.setdefault(label.id, (label, event))
        if told:
            events = [(label, event) for label, event in told.values()]
            joined = [(label.id, *self._joined_event(label, event)) for label, event in events]
            refused = self._retry("joined events", lambda: self._append(joined))
            for row, error in refused.items():
                self._refuse(events[row][0], error)
            by = {label.id: label.where for label, _ in events}
            self._retry("waiting events", lambda: self._pending.settle(model, by))
            self._observer.labels_joined(
                [
                    max(0.0, label.records.times[0] - event.time)
                    for row, (label, event) in enumerate(events)
                    if row not in refused
                ]
            )
        again = sum(event.joined_by == label.where for label, event in zip(labels, found) if event is not None)
        if len(done) > len(told) + again:  # those read again after a restart were not sent again
            self._observer.labels_duplicated(len(done) - len(told) - again)
        for label in done:  # not earlier: a next run starts at the oldest label that waits
            self._waiting.remove(label)

    def _joined_event(self, label: Label, event: Waiting) -> tuple[int | None, Message]:
        """The partition that the event was read from, and the joined event's record."""
        number, value = (None, event.value) if self._to_shards is None else unplaced(event.value)
        return number, joined_event(self._schema, label.id, label.label, value)

    def _append(self, joined: Sequence[tuple[str, int | None, Message]]) -> Mapping[int, RecordsRefused]:
        """Append joined events: the id, partition and record of each."""
        messages = [message for _, _, message in joined]
        if self._to_shards is not None:
            messages = self._to_shards.addressed(joined)
        return append_possible(self._source, self._settings.joined_topic, messages)

    def _refuse(self, label: Label, error: RecordsRefused) -> None:
        """The event of this label can never be appended: its label goes to the dead letters."""
        log.error("a joined event can never be appended", model=self._settings.model, id=label.id, problem=str(error))
        detail = f"the joined event of id {label.id!r} cannot be appended: {error}"
        self._set_aside(label.records, [Rejected(0, "too_large", detail)])

    def _cannot_join(self, one: Sequence[Label], error: Exception) -> None:
        (label,) = one
        self._set_aside(label.records, [Rejected(0, JOINER_ERROR, first_line(error))])
        self._waiting.remove(label)

    def _give_up(self) -> None:
        """Expired labels, and the oldest of too many, go to the dead letters."""
        over = self._waiting.expired(self._clock())
        for label in over:
            detail = f"no event of id {label.id!r} is known, or no longer"
            self._set_aside(label.records, [Rejected(0, "unmatched_label", detail)])
            self._waiting.remove(label)
        if over:
            self._observer.labels_unmatched(len(over))

    def _retry(self, what: str, action: Callable[[], Answer]) -> Answer:
        """Run it until neither the store nor the log refuses. Raises Stopped or LogReplaced."""
        answer = self._retrying(what, action)
        self._store.reached()
        return answer


def entries_of(batch: Batch, rows: Sequence[int]) -> list[tuple[str, float, bytes]]:
    """These events of a batch, all with an id, without their labels, encoded for the store of pending events."""
    some = batch.take(np.array(rows, dtype=np.int64)).unlabelled()
    assert some.ids is not None
    return [(id or "", moment, value) for id, moment, value in zip(some.ids, some.times.tolist(), to_events(some))]
