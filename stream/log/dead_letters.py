"""Dead letters: invalid records, stored byte for byte with their reason in the topic `<topic>.dlq`.

One that the log can never take whole keeps its first bytes, its hash, its size and its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from thalweg.proto.records import Headers, Partition, Position, Records
from thalweg.proto.rejected import Rejected
from thalweg.stream.log.log import Log, LogError, Message, RecordsRefused
from thalweg.stream.log.refused import append_possible

MODEL = "thalweg-model"
REASON = "thalweg-reason"
DETAIL = "thalweg-detail"
TOPIC = "thalweg-topic"
PARTITION = "thalweg-partition"
OFFSET = "thalweg-offset"
TIME = "thalweg-time"
ROWS = "thalweg-rows"
TRUNCATED = "thalweg-truncated"
SHA256 = "thalweg-sha256"
BYTES = "thalweg-bytes"
_LONGEST_DETAIL = 1000
_LOOK_BACK = 1000  # newest dead letters that are read to find where the last run stopped
_PATIENCE_SECONDS = 2.0
_KEPT_BYTES = (64 << 10, 1 << 10, 0)
"""How much is kept of each part of a letter that is too large; less where that is still too much."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An invalid record, for inspection."""

    record: Message
    """The original record, without the headers that were added."""
    model: str
    reason: str
    detail: str
    topic: str
    partition: int
    """-1: the dead letter was written by other software, without an offset."""
    offset: int
    """-1, likewise."""
    rows: tuple[int, ...]
    """The invalid events of a record with many events; the others were learned. Empty: none was learned."""
    whole_bytes: int | None = None
    """The size of the original value where the log could not take it and only its beginning is here."""
    sha256: str = ""
    """The SHA-256 of the original value, likewise."""

    @property
    def value(self) -> bytes | None:
        """The record's value."""
        return self.record.value

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        return self.record.key


def dead_letters_of(topic: str) -> str:
    """The topic of this topic's dead letters."""
    return f"{topic}.dlq"


class DeadLetters:
    """The dead letters of one topic. Value, key and headers are those of the original record, plus:

    `thalweg-model` (which model rejected it), `thalweg-reason` (a fixed set), `thalweg-detail`, `thalweg-topic`,
    `thalweg-partition`, `thalweg-offset`, `thalweg-time` (Unix seconds), and for a record with many events of which
    only some are invalid, `thalweg-rows`. A record that the log can never take as it is (too large, for instance) is
    cut: `thalweg-truncated` names the parts of which bytes are missing (`value,key,headers`), `thalweg-sha256` and
    `thalweg-bytes` are the hash and the size of the original value.

    Args:
        log: The log of the topic and its dead letters.
        topic: The topic of the original records.
        model: The model that sends dead letters.
    """

    def __init__(self, log: Log, topic: str, model: str = "") -> None:
        self._log = log
        self._topic = topic
        self._model = model
        self._name = dead_letters_of(topic)

    def send(self, records: Records, rejected: Sequence[Rejected]) -> None:
        """Append these records. Raises LogError when the log rejects them."""
        letters = [self._letter(records, one) for one in rejected]
        for row in append_possible(self._log, self._name, letters):
            self._send_cut(records, rejected[row])

    def _send_cut(self, records: Records, one: Rejected) -> None:
        """Append a letter that cannot be kept whole, with as much of it as possible."""
        value = records.values[one.row] or b""
        sha256 = hashlib.sha256(value).hexdigest().encode()
        for kept in _KEPT_BYTES:
            parts = {
                "value": len(value) > kept,
                "key": len(records.keys[one.row] or b"") > kept,
                "headers": sum(len(name) + len(content) for name, content in records.headers[one.row]) > kept,
            }
            extra = [
                (TRUNCATED, ",".join(part for part, cut in parts.items() if cut).encode()),
                (SHA256, sha256),
                (BYTES, str(len(value)).encode()),
            ]
            whole = self._letter(records, one, extra)
            ours = whole.headers[len(records.headers[one.row]) :]
            letter = Message(
                None if whole.value is None else whole.value[:kept],
                None if whole.key is None else whole.key[:kept],
                ours if parts["headers"] else whole.headers,
            )
            try:
                self._log.append(self._name, [letter])
            except RecordsRefused:
                if not kept:
                    raise
            else:
                return

    def _letter(self, records: Records, one: Rejected, extra: Headers = ()) -> Message:
        row = one.row
        headers = [
            *records.headers[row],
            (MODEL, self._model.encode()),
            (REASON, one.reason.encode()),
            (DETAIL, one.detail[:_LONGEST_DETAIL].encode("utf-8", "replace")),
            (TOPIC, records.partition.topic.encode()),
            (PARTITION, str(records.partition.number).encode()),
            (OFFSET, str(records.offsets[row]).encode()),
            (TIME, repr(float(records.times[row])).encode()),
        ]
        if one.rows:
            headers.append((ROWS, ",".join(map(str, one.rows)).encode()))
        return Message(records.values[row], records.keys[row], [*headers, *extra])

    def newest(self, count: int) -> list[DeadLetter]:
        """The newest dead letters of all models, at most this many per partition, oldest first."""
        return list(self.each_of_newest(count))

    def each_of_newest(self, count: int) -> Iterator[DeadLetter]:
        """The same one by one: they may be too large to be held all at once."""
        return (_read(run, row) for run in self._tail(count) for row in range(len(run)))

    def last_sent(self) -> Position:
        """The newest record per partition that this model sent, according to the newest dead letters.

        Dead letters of other models are ignored: those models may be ahead of this one.
        """
        last: dict[Partition, int] = {}
        for partition, offset in self.recently_sent():
            last[partition] = max(last.get(partition, -1), offset)
        return last

    def recently_sent(self, reason: str = "") -> set[tuple[Partition, int]]:
        """The records that this model sent for this reason (empty: for any), according to the newest dead letters."""
        found = set()
        for run in self._tail(_LOOK_BACK):
            for headers in run.headers:
                ours = _ours(headers)
                if ours.get(MODEL, "") == self._model and (not reason or ours.get(REASON) == reason):
                    found.add((Partition(ours.get(TOPIC, ""), _number(ours, PARTITION)), _number(ours, OFFSET)))
        return found

    def _tail(self, count: int) -> Iterator[Records]:
        """The newest records of the dead-letter topic, up to its current end."""
        bounds = self._log.bounds(self._name)
        after = {partition: max(earliest, end - count) - 1 for partition, (earliest, end) in bounds.items()}
        if not after:
            return
        reader = self._log.reader([self._name], after)
        try:
            while any(reader.position().get(partition, -1) < end - 1 for partition, (_, end) in bounds.items()):
                runs = reader.poll(_PATIENCE_SECONDS)
                yield from runs
                if not runs and not any(reader.lag().values()):
                    return  # the newest were transaction markers, or retention deleted them
                if not runs and not reader.reached():
                    raise LogError(f"topic {self._name!r}: the log is unavailable")
        finally:
            reader.close()


def _ours(headers: Headers) -> Mapping[str, str]:
    """The headers that were added; the last of a name counts, because the record may have one of the same name."""
    return {name: content.decode("utf-8", "replace") for name, content in headers if name.startswith("thalweg-")}


def _number(headers: Mapping[str, str], name: str) -> int:
    try:
        return int(headers.get(name, ""))
    except ValueError:
        return -1


def _read(run: Records, row: int) -> DeadLetter:
    headers = list(run.headers[row])
    names = [name for name, _ in headers]
    added = len(names) - 1 - names[::-1].index(MODEL) if MODEL in names else len(names)  # the first added header
    ours = _ours(headers[added:])
    try:
        moment = float(ours.get(TIME, ""))
    except ValueError:
        moment = run.times[row]
    return DeadLetter(
        record=Message(run.values[row], run.keys[row], headers[:added], moment),
        model=ours.get(MODEL, ""),
        reason=ours.get(REASON, ""),
        detail=ours.get(DETAIL, ""),
        topic=ours.get(TOPIC, ""),
        partition=_number(ours, PARTITION),
        offset=_number(ours, OFFSET),
        rows=tuple(int(part) for part in ours.get(ROWS, "").split(",") if part.isdigit()),
        whole_bytes=_number(ours, BYTES) if SHA256 in ours else None,
        sha256=ours.get(SHA256, ""),
    )
