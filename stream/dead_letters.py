"""Dead letters: records that cannot be used, kept byte for byte beside their reason in the topic `<topic>.dlq`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thalweg.proto.event import Partition, Position, Records
from thalweg.proto.rejected import Rejected
from thalweg.stream.log import Log, Message

REASON = "thalweg-reason"
DETAIL = "thalweg-detail"
TOPIC = "thalweg-topic"
PARTITION = "thalweg-partition"
OFFSET = "thalweg-offset"
TIME = "thalweg-time"
ROWS = "thalweg-rows"
_LONGEST_DETAIL = 1000
_LOOK_BACK = 1000  # newest dead letters that are read to find where the last run stopped


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, for a person to look at."""

    value: bytes | None
    key: bytes | None
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int


class DeadLetters:
    """The dead letters of one topic. Their value, key and headers are the record's own; ours are added:

    `thalweg-reason` (one of a few words), `thalweg-detail`, `thalweg-topic`, `thalweg-partition`, `thalweg-offset`,
    `thalweg-time` (Unix seconds), and for a record of many events of which only some were bad, `thalweg-rows`.
    """

    def __init__(self, log: Log, topic: str) -> None:
        self._log = log
        self._topic = topic
        self._name = f"{topic}.dlq"

    def send(self, records: Records, rejected: Sequence[Rejected]) -> None:
        """Keep these records. Raises LogError when the log does not take them."""
        self._log.append(self._name, [self._letter(records, one) for one in rejected])

    def _letter(self, records: Records, one: Rejected) -> Message:
        row = one.row
        headers = [
            *records.headers[row],
            (REASON, one.reason.encode()),
            (DETAIL, one.detail[:_LONGEST_DETAIL].encode("utf-8", "replace")),
            (TOPIC, records.partition.topic.encode()),
            (PARTITION, str(records.partition.number).encode()),
            (OFFSET, str(records.offsets[row]).encode()),
            (TIME, repr(float(records.times[row])).encode()),
        ]
        if one.rows:
            headers.append((ROWS, ",".join(map(str, one.rows)).encode()))
        return Message(records.values[row], records.keys[row], headers)

    def newest(self, count: int) -> list[DeadLetter]:
        """The newest dead letters, oldest of them first."""
        after = {
            partition: max(earliest, end - count) - 1
            for partition, (earliest, end) in self._log.bounds(self._name).items()
        }
        if not after:
            return []
        reader = self._log.reader([self._name], after)
        letters: list[DeadLetter] = []
        try:
            while len(letters) < count * len(after) and (runs := reader.poll(2.0)):
                letters += [_read(run, row) for run in runs for row in range(len(run))]
                if not any(reader.lag().values()):
                    break
        finally:
            reader.close()
        return letters

    def last_sent(self) -> Position:
        """Per partition of the topic the newest record that was sent, as far as the newest dead letters tell."""
        last: dict[Partition, int] = {}
        for letter in self.newest(_LOOK_BACK):
            if letter.topic == self._topic:
                partition = Partition(letter.topic, letter.partition)
                last[partition] = max(last.get(partition, -1), letter.offset)
        return last


def _read(run: Records, row: int) -> DeadLetter:
    headers = {name: content.decode("utf-8", "replace") for name, content in run.headers[row]}
    number, offset = headers.get(PARTITION, ""), headers.get(OFFSET, "")
    return DeadLetter(
        run.values[row],
        run.keys[row],
        headers.get(REASON, ""),
        headers.get(DETAIL, ""),
        headers.get(TOPIC, ""),
        int(number) if number.isdigit() else -1,
        int(offset) if offset.isdigit() else -1,
    )
