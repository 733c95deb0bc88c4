"""confluent-kafka's consumer, as a reader needs it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from thalweg.proto.records import Headers, Partition, Records
from thalweg.stream.log.confluent_client.clients import Clients
from thalweg.stream.log.confluent_client.cluster import Cluster
from thalweg.stream.log.confluent_client.errors import Causes
from thalweg.stream.log.confluent_client.logs import ClientLog
from thalweg.stream.log.confluent_client.second_look import SecondLook
from thalweg.stream.log.kafka_shared.consumer import ANSWER_SECONDS, ClientError, OffsetGone, Topic, UnreadableBatch

_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}
_UNREADABLE = {
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError._UNDERFLOW,
    KafkaError.INVALID_MSG,
}
_NO_GROUP = "thalweg-without-group"  # nothing is committed to it; the client demands a name
_MOST = 100_000
_CLOSE_SECONDS = 1.0
_NO_TEXT = (SystemError, UnicodeDecodeError)
"""A header's name that is no UTF-8. The client then returns a list with a hole and leaves its exception behind: whoever
touches the hole ends the process. `map` looks for the exception, a plain call may not; and the client answers a second
call for the same message without it, so there must be none.
"""


class ConfluentConsumer:
    """See `Consumer`.

    What is read is assigned as a whole whenever it changes: the client then drops what it had fetched ahead.

    Args:
        clients: Opens the consumer.
        cluster: Answers about topics.
        group: The consumer group to which positions are committed.
        look: Looks at what this client does not hand over.
        most_bytes: A larger record cannot be read.
        one_of_many: It reads one partition, as many others of this process do.
    """

    def __init__(
        self,
        clients: Clients,
        cluster: Cluster,
        group: str | None,
        look: SecondLook,
        most_bytes: int,
        one_of_many: bool = False,
    ) -> None:
        self._causes = Causes(clients.servers)
        self._log = ClientLog("consumer", self._causes.failed)
        self._consumer = clients.consumer(group or _NO_GROUP, self._log, self._causes, one_of_many=one_of_many)
        self._causes.ask(self._consumer)
        self._cluster, self._look, self._most_bytes = cluster, look, most_bytes
        self._next: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._assigned = True
        self._passed: dict[Partition, int] = {}
        self._gone = False
        self._doubtful: dict[Partition, str] = {}  # not handed over: the reason

    def topics(self, names: Sequence[str], fresh: bool = False) -> Mapping[str, Topic]:
        return self._cluster.topics(names)

    def bounds(
        self, partitions: Sequence[Partition], timeout_seconds: float = ANSWER_SECONDS
    ) -> Mapping[Partition, tuple[int, int]]:
        return self._cluster.bounds(partitions, timeout_seconds)

    def ends(self, partitions: Sequence[Partition], timeout_seconds: float) -> Mapping[Partition, int]:
        return self._cluster.ends(partitions, timeout_seconds)

    def read(self, offsets: Mapping[Partition, int]) -> None:
        self._next = dict(offsets)
        self._paused &= self._next.keys()
        self._passed.clear()
        self._doubtful.clear()
        self._gone = self._log.topic_replaced = self._assigned = False

    def go_to(self, partition: Partition, offset: int) -> None:
        if self._next.get(partition) == offset and partition not in self._paused:
            return  # it is on its way there, or in doubt
        self._next[partition] = offset
        self._paused.discard(partition)
        self._doubtful.pop(partition, None)
        self._passed.pop(partition, None)
        self._assigned = False

    def pause(self, partition: Partition) -> None:
        self._paused.add(partition)
        self._assigned = False

    def poll(self, timeout_seconds: float, max_records: int) -> list[Records]:
        if self._gone:
            self._gone = False
            raise OffsetGone
        for partition in list(self._doubtful):
            return self._look_again(partition)
        if not self._assigned:
            self._assign()
        found = self._consumer.consume(min(max_records, _MOST), 0)
        if not found and (one := self._consumer.poll(timeout_seconds)) is not None:
            # waits for the first only: to wait for many would hold up those that are there
            found = [one, *self._consumer.consume(min(max_records, _MOST) - 1, 0)] if max_records > 1 else [one]
        if self._log.topic_replaced:  # from where on these are records of another topic, nobody tells
            self._log.topic_replaced = self._assigned = False
            raise OffsetGone
        if any(one.error() is not None for one in found):
            found = self._sound(found)
        if found:
            self._causes.clear()
        return self._runs(found)

    def _assign(self) -> None:
        read = [TopicPartition(*part, offset) for part, offset in self._next.items() if part not in self._paused]
        try:
            self._consumer.assign(read)
        except KafkaException as error:
            raise ClientError(self._causes.problem(error.args[0])) from error
        self._assigned = True

    def _sound(self, found: Sequence[Message]) -> list[Message]:
        """The records among these messages; notes what the others tell."""
        sound: list[Message] = []
        failed: KafkaError | None = None
        for one in found:
            partition, error = Partition(one.topic() or "", one.partition()), one.error()
            if error is None:
                if partition not in self._doubtful:
                    sound.append(one)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._passed[partition] = one.offset()
            elif error.code() in _GONE:
                self._gone = True
            elif error.code() in _UNREADABLE and partition in self._next:
                self._doubt(partition, " ".join(error.str().split()))
            elif error.code() not in _PASSING:
                failed = error
        if failed is not None and not sound:
            self._assigned = False  # what came was not returned
            raise ClientError(self._causes.problem(failed))
        return sound

    def _runs(self, found: Sequence[Message]) -> list[Records]:
        parts: dict[tuple[str | None, int | None], list[Message]] = defaultdict(list)
        if len(self._next) == 1 and found:
            parts[next(iter(self._next))] = list(found)
        else:
            for one in found:
                parts[(one.topic(), one.partition())].append(one)
        runs = []
        for (topic, number), messages in parts.items():
            partition = Partition(topic or "", number or 0)
            if partition not in self._next:
                continue
            run = self._run(partition, messages)
            if len(run):
                self._next[partition] = run.offsets[-1] + 1
                runs.append(run)
        return runs

    def _run(self, partition: Partition, messages: Sequence[Message]) -> Records:
        values = [one.value() for one in messages]
        whole = len(messages)
        if sum(len(value) for value in values if value) > self._most_bytes:
            whole = next((n for n, value in enumerate(values) if value and len(value) > self._most_bytes), whole)
        headers: list[Headers] = []
        try:
            for told in map(Message.headers, messages[:whole]):  # not `one.headers()`: see _NO_TEXT
                headers.append([(name, content or b"") for name, content in told] if told else ())  # noqa: PERF401
        except _NO_TEXT:
            whole = len(headers)
        if whole < len(messages):
            self._doubt(partition, "the client does not hand it over")
            messages, values = messages[:whole], values[:whole]
        return Records(
            partition,
            [one.offset() for one in messages],
            [one.timestamp()[1] / 1000 for one in messages],
            [one.key() for one in messages],
            values,
            headers,
        )

    def _doubt(self, partition: Partition, reason: str) -> None:
        """The next record of a partition was not handed over: what follows it must not be returned."""
        self._doubtful.setdefault(partition, reason)
        self._assigned = False

    def _look_again(self, partition: Partition) -> list[Records]:
        reason, following = self._doubtful.pop(partition), self._next[partition]
        runs = self._look.records(partition, following)
        if not runs:
            raise UnreadableBatch(partition, following, None, "", reason)
        self._next[partition] = runs[-1].offsets[-1] + 1
        return runs

    def highest(self, partition: Partition) -> int:
        try:
            known = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        except KafkaException:
            return 0
        return max(0, known[1]) if known else 0

    def passed(self, partition: Partition) -> int:
        return self._passed.get(partition, 0)

    def commit(self, offsets: Iterable[tuple[Partition, int]], note: str) -> None:
        places = [TopicPartition(part.topic, part.number, offset, metadata=note) for part, offset in offsets]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            raise ClientError(self._causes.problem(error.args[0])) from error

    def close(self) -> None:
        """Waits a second; a client that still waits for its commits, for a minute without a broker, ends by itself."""
        closing = threading.Thread(target=self._consumer.close, name="kafka-close", daemon=True)
        self._causes.leave()
        del self._consumer  # to end it waits, too, whoever lets go of it last
        closing.start()
        closing.join(_CLOSE_SECONDS)


_PASSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
"""A topic that is gone; the reader looks for its topics by itself."""
