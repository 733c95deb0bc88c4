"""Checks the simulated service against what must hold, with its own idea of what was sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from thalweg.models.contract.learner import Predictor
from thalweg.ops.simulate.service import (
    JOINED,
    LABELS,
    SETTINGS,
    TOPIC,
    Places,
    journal_folder,
    new_learner,
    snapshots_of,
)
from thalweg.proto import thalweg_pb2
from thalweg.stream.health.registry import Condition
from thalweg.stream.journal.entries import BlockEntry, RollbackEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import JournalError
from thalweg.stream.learn.blocks import HistoryLost
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.log import LogError

if TYPE_CHECKING:
    from thalweg.ops.simulate.service import LearnerProcess

HEALTH_SECONDS = 15.0
"""By when a learner that does not get on must have told so."""


class Checker:
    """Collects violations of what must hold.

    Args:
        places: Everything outside the processes.
    """

    def __init__(self, places: Places) -> None:
        self.violations: list[str] = []
        self.labelled: set[str] = set()
        """The ids of events that must be learned once, the poisoned among them excepted."""
        self.poisoned: set[str] = set()
        """The ids of events that the learner cannot learn."""
        self.invalid = 0
        """Number of invalid records sent."""
        self._places = places
        self._contents: dict[int, str] = {}
        self._progress: tuple[object, float] = (None, 0.0)

    def violated(self, what: str) -> None:
        """Note a violation."""
        self._places.scheduler.note(f"VIOLATION: {what}")
        self.violations.append(what)

    # -- while it runs ------------------------------------------------------------------------------------------------

    def part_died(self, part: str, error: Exception) -> None:
        """A part ended by an exception: it is started again. Only a disk or a log that refuses may cause that."""
        if isinstance(error, OSError | LogError):
            self._places.scheduler.note(f"{part} ended: {error.__class__.__name__}")
            return
        self.violated(f"{part} ended: {type(error).__name__}: {error}")

    def served(self, version: int, predictor: Predictor) -> None:
        """A server has taken this version: it must be the same for ever."""
        content = predictor.state().sha256()
        known = self._contents.setdefault(version, content)
        if known != content:
            self.violated(f"version {version} was served with two contents")

    def power_was_cut(self) -> None:
        """All processes are dead, and the memory is empty."""
        self._progress = (None, self._places.scheduler.ticks())

    def snapshots(self) -> list[int]:
        """The versions on the disk, oldest first."""
        folder = snapshots_of(self._places.disks).folder
        return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal()) if folder.is_dir() else []

    def look(self, life: LearnerProcess | None) -> None:
        """Whether the health that is told now is true."""
        now = self._places.scheduler.ticks()
        processor = getattr(life, "processor", None)
        if life is None or not life.process.alive or processor is None:
            self._progress = (None, now)
            return
        progress = (life, processor.version, self._behind(processor))
        if progress != self._progress[0] or not progress[2]:
            self._progress = (progress, now)
        elif now - self._progress[1] > HEALTH_SECONDS:
            told = next(one for one in life.health.report() if one.component == "learner")
            if told.state in (Condition.RUNNING, Condition.STARTING):
                self.violated(
                    f"no progress for {HEALTH_SECONDS:g} s with records waiting, and the learner is {told.state}"
                )

    def _behind(self, processor: Processor) -> bool:
        position = processor.position
        return any(
            position.get(partition, -1) < end - 1
            for topic in (TOPIC, JOINED)
            for partition, (_, end) in self._places.log.records.bounds(topic).items()
        )

    # -- at the end ---------------------------------------------------------------------------------------------------

    def settled(self, processor: Processor) -> bool:
        """Whether everything that was sent is consumed."""
        late = {id for id, _, label in self._labels() if label}
        joined = {id for _, id, _ in self._events(JOINED)}
        return not self._behind(processor) and late <= joined

    def finish(self, processor: Processor | None) -> None:
        """Check the end state, after all faults have ended."""
        if processor is None:
            self.violated("there is no learner at the end")
            return
        if self._behind(processor):
            self.violated(f"not everything was read: at {dict(processor.position)}")
            return
        self._check_learned(processor)
        self._check_rebuilt(processor)
        self._check_dead_letters()

    def _check_learned(self, processor: Processor) -> None:
        """Each event once, by our own reading of the journal and the log."""
        found = {(topic, offset): (id, label) for topic in (TOPIC, JOINED) for offset, id, label in self._events(topic)}
        next_offset = {TOPIC: 0, JOINED: 0}
        consumed = Counter[str]()
        learned = {0: 0}
        version = 0
        try:
            for entry in FileJournal(journal_folder(self._places.disks), read_only=True).entries(0):
                version = entry.version
                count = learned[entry.to] if isinstance(entry, RollbackEntry) else learned[version - 1]
                for part in entry.ranges if isinstance(entry, BlockEntry) else ():
                    topic = part.partition.topic
                    if part.first != next_offset[topic]:
                        self.violated(f"version {version}: {topic} continues at {part.first}, not {next_offset[topic]}")
                    next_offset[topic] = part.last + 1
                    for offset in range(part.first, part.last + 1):
                        id, label = found.get((topic, offset), ("", ""))
                        if label and id not in consumed and id not in self.poisoned:
                            count += 1
                        if label:
                            consumed[id] += 1
                learned[version] = count
        except JournalError as error:
            self.violated(f"the journal cannot be read: {error}")
            return
        if version != processor.version:
            self.violated(f"the journal ends at version {version}, the learner is at {processor.version}")
        if missing := self.labelled - consumed.keys():
            self.violated(f"{len(missing)} events were never learned, such as {min(missing)}")
        if learned[version] != processor.events_learned:
            self.violated(f"{learned[version]} events should be in the state, {processor.events_learned} are")

    def _check_rebuilt(self, processor: Processor) -> None:
        disks = self._places.disks
        journal = FileJournal(journal_folder(disks), read_only=True)
        records, snapshots = self._places.log.records, snapshots_of(disks)
        try:
            rebuilt = rebuild(new_learner, records, snapshots, journal, SETTINGS, processor.version)
        except (JournalError, HistoryLost, LookupError) as error:
            self.violated(f"the state cannot be rebuilt: {error}")
            return
        if rebuilt.state_sha256 != processor.state_sha256:
            self.violated("the state is not the fold of the log")

    def _check_dead_letters(self) -> None:
        letters = DeadLetters(self._places.log.records, TOPIC).newest(1 << 30)
        places = Counter((letter.partition, letter.offset) for letter in letters)
        invalid = sum(1 for letter in letters if letter.reason == "malformed")
        if twice := [place for place, count in places.items() if count > 1]:
            self.violated(f"{len(twice)} dead letters were sent twice, such as {min(twice)}")
        elif invalid != self.invalid:
            self.violated(f"{self.invalid} invalid records were sent, {invalid} are dead letters")

    # -- our own reading of the log -----------------------------------------------------------------------------------

    def _values(self, topic: str) -> Iterator[tuple[int, bytes]]:
        log = self._places.log.records
        if not log.bounds(topic):
            return
        reader = log.reader([topic], {})
        while runs := reader.poll(0.0, 10_000, 1 << 30):
            for run in runs:
                yield from zip(run.offsets, (value or b"" for value in run.values))

    def _labels(self) -> Iterator[tuple[str, int, str]]:
        for offset, value in self._values(LABELS):
            record = json.loads(value)
            yield record["id"], offset, record["label"]

    def _events(self, topic: str) -> Iterator[tuple[int, str, str]]:
        """Offset, id and label of each event; an empty label: it has none."""
        for offset, value in self._values(topic):
            if topic == JOINED:
                try:
                    event = thalweg_pb2.Event.FromString(value)
                except DecodeError:
                    self.violated(f"{topic}: offset {offset} is no event")
                    continue
                yield offset, event.id, event.label_text
                continue
            try:
                record = json.loads(value)
            except ValueError:
                continue
            yield offset, record["id"], record.get("label", "")
