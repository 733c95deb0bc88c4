"""The log: a small protocol.

Implementations: `in_memory`, `sqlite` (embedded), `kafka` and `confluent`. `open_log` selects one by URL.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from thalweg.proto.records import Headers, Partition, Position, Records
from thalweg.stream.log.groups import GroupListener, GroupMember

Start: TypeAlias = Literal["earliest", "latest"]
UNLIMITED = 1 << 40
"""A limit of bytes that nothing reaches."""


class LogError(Exception):
    """The log cannot perform an operation; the message says which topic and why. It may succeed later."""


class PermanentLogError(LogError):
    """It will not succeed by itself, however long one waits: the message says what to change."""


class RecordsRefused(PermanentLogError):
    """Some of the records can never be appended; all others of the call are in the log.

    Args:
        message: Which topic, why, and what to change.
        rows: The refused ones, as positions in the sequence that was to be appended.
    """

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class RecordTooLarge(RecordsRefused):
    """Records larger than the log accepts; `Log.max_record_bytes` tells the limit."""


class PartlyAway(LogError):
    """The log answers, but for some partitions, whose brokers are out of reach.

    Args:
        message: Which ones, and what is out of reach.
        partitions: All partitions that were asked for.
    """

    def __init__(self, message: str, partitions: Collection[Partition]) -> None:
        super().__init__(message)
        self.partitions = frozenset(partitions)


class LogAway(LogError):
    """The folder of the log is away, and with it all else that lies there: it goes on once the folder is back."""


class LogReplaced(LogError):
    """The log was replaced while it was open; the service must be restarted to use the one that is there."""


class LogDeleted(LogReplaced):
    """The log was deleted or moved away while it was open: put back, it goes on; a restart would begin another one."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The position of an appended record."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """A record to append."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    time: float | None = None
    """Unix seconds; None: now."""
    partition: int | None = None
    """The partition that it goes to, which is there; None: that of its key. Logs of one partition do not ask."""

    @property
    def size_bytes(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name.encode("utf-8", "replace")) + len(content) for name, content in self.headers)
        return len(self.value or b"") + len(self.key or b"") + headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Retention of each topic of an embedded log; the oldest records are deleted first. None: no limit."""

    records: int | None = None
    """Most records."""
    bytes: int | None = 4 << 30
    """Most bytes of keys and values."""
    seconds: float | None = None
    """Maximum age in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reader does about records of a broker that it cannot read."""

    unreadable_seconds: float = 30.0
    """They are fetched anew for this long before they are skipped."""
    unpacked_bytes: int = 128 << 20
    """A compressed batch that unpacks to more cannot be read."""


Epochs: TypeAlias = Sequence[tuple[int, str, int]]
"""Of each epoch of a topic its number, rising by one, a name of its own, and the offset of its first record."""

GapCause: TypeAlias = Literal["retention", "unreadable", "replaced", "rewound"]
"""Why records are not read: retention deleted them; they are damaged or cannot be decompressed; their topic was
deleted and created again; they were read, and the log does not have them any more."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that a reader passed without returning their records: `first` to `last`, both included.

    No run of records spans a gap. For `replaced` the offsets are those of the deleted topic, as far as they are known;
    the reader continued at the beginning of the new one. For `rewound` they were read, now or by whoever said where to
    begin, and the reader continues at `first`.
    """

    partition: Partition
    first: int
    last: int
    cause: GapCause = "retention"
    detail: str = ""
    """What is wrong with unreadable records."""

    def __len__(self) -> int:
        return max(0, self.last - self.first + 1)


GAP_TEXTS: Mapping[GapCause, str] = {
    "retention": "retention deleted records before they were read: continuing at the earliest offset",
    "unreadable": "records cannot be read: skipped",
    "replaced": "the topic was deleted and created again: continuing at its beginning; what was not read is lost",
    "rewound": "records that were read are gone from the log, which is older than what was learned of it: they stay "
    "learned, and what comes in their place is read",
}
"""What to tell of a gap."""


def gap_fields(gap: Gap) -> dict[str, object]:
    """The fields of a log line about a gap."""
    fields: dict[str, object] = {"partition": str(gap.partition), "first": gap.first, "last": gap.last}
    return {**fields, "records": len(gap), **({"problem": gap.detail} if gap.detail else {})}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reader cannot read at present."""

    reason: str
    """In one line, with what to do where it is known."""
    permanent: bool = False
    """Waiting does not help; somebody must change something."""
    partly: bool = False
    """It is of some partitions alone: the others are read."""


class Reader(Protocol):
    """A position in one or more topics. Used by one thread. It only moves backwards by `seek`."""

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        """The next records, at most about this many; waits up to the timeout if there are none, then returns [].

        Reads every partition of the topics, including new ones. Records of one partition are in
        offset order; there is no order across partitions. Only committed records are returned.
        While the log is unavailable it retries internally and returns []: it never raises for a temporary failure.
        """

    def seek(self, after: Position) -> None:
        """Continue after these offsets; partitions not named continue at the reader's start."""

    def position(self) -> Position:
        """The last offset per partition that was returned or seeked past."""

    def lag(self) -> Mapping[Partition, int]:
        """Lag: records not yet returned, per partition; does not block, so it may be slightly out of date. A partition
        that is out of reach is missing: nobody knows.
        """

    def reached(self) -> bool:
        """Whether all of the log responded recently. If not, an empty poll and a lag of 0 mean nothing."""

    def problem(self) -> Problem | None:
        """Why the reader, or one of its partitions, cannot read at present although there may be records."""

    def gaps(self) -> list[Gap]:
        """What was passed without being read, since the last call. The reader continued at the next record.

        After a topic was replaced or rewound no records come until this is called: a block has records from before or
        from after it only.
        """

    def commit(self, position: Position, note: str = "") -> None:
        """Report the position to the log, for monitoring only; never read back. Does not block."""

    def close(self) -> None:
        """Release resources; may be called twice."""


class Log(Protocol):
    """Topics of partitions of records. Safe to share between threads; readers are not."""

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        """Append in order and durably; returns when the log has the records. Creates a new topic.

        Messages with equal keys go to one partition, unless they name another.

        Raises:
            RecordsRefused: Some of them can never be appended; the others are.
            PermanentLogError: None can be appended until somebody changes something.
            LogError: The log does not take them at present.
        """

    def max_record_bytes(self, topic: str) -> int:
        """The largest record (key, value and headers) that the topic accepts whatever its content, as far as is known.

        Does not block; may be slightly out of date.
        """

    def reader(
        self,
        topics: Sequence[str],
        after: Position,
        start: Start = "earliest",
        group: str = "",
        partition: int | None = None,
        *,
        patient: bool = False,
    ) -> Reader:
        """A reader that continues after `after`; partitions not named there start at `start`.

        `group` names the reader for the log's own monitoring (Kafka: the consumer group whose lag is shown).
        `partition`: of each topic, read this one only; None: all, new ones too.
        `patient`: with it, for one of very many: it asks seldom, and shares what it asks with others. A record is
        returned as soon as ever; after a `seek` it may take a second longer.
        Raises LogError for `latest` while the log is unavailable, because the latest offset is unknown then.
        """

    def member(self, topic: str, group: str, instance: str, listener: GroupListener) -> GroupMember:
        """Joins the consumer group of those who share the partitions of a topic; asks nobody yet.

        `instance`: the member's name, under which it keeps its partitions over a short restart; empty: it has none, and
        leaves the group at once when it closes.
        """

    def named_members(self, group: str) -> Sequence[str]:
        """The names of a group's members that have one, and `client CLIENT_ID` of those that have none and are not ours
        (see `member`); none where the log has no groups. Raises LogError.
        """

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        """Earliest offset and next offset per partition; {} if there is no topic.

        Raises:
            PartlyAway: Some partitions are out of reach.
            LogError: The log does not answer.
        """

    def identity(self, topic: str) -> str | None:
        """Tells a topic from another of the same name that was created after it was deleted.

        None: the topic does not exist, or the log has no identities. Raises LogError while the log is unavailable.
        """

    def epochs(self, topic: str) -> Epochs:
        """When writers began to append to it, the newest of them, in order: tells a log from an older copy of itself to
        which something else was appended since (`identity.diverged`).

        Empty: the topic does not exist, or the log has none. Raises LogError while the log is unavailable.
        """

    def cluster(self) -> str | None:
        """Tells the log from others that may have topics of the same names: the id of the Kafka cluster.

        None: the log has no such id, as an embedded one. Raises LogError while the log is unavailable.
        """

    def close(self) -> None:
        """Release resources; may be called twice."""
