"""What the errors of librdkafka mean to this service: whether waiting helps, and what to do where it does not."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from thalweg.stream.log.kafka_shared.members import NO_HOST, SESSION_REFUSED
from thalweg.stream.log.log import LogError, PermanentLogError, Problem, RecordsRefused, RecordTooLarge

TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
"""The record, or the batch it travels in, is larger than the topic or the client allows."""
REFUSED = TOO_LARGE | {KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP}
"""The record can never be appended, whatever else is."""
_SASL = "check log.kafka: sasl.mechanism, sasl.username, sasl.password, security.protocol"
_RIGHTS = "grant the service's user the right to it"
_ADVICE = {
    KafkaError._AUTHENTICATION: f"authentication failed; {_SASL}",
    KafkaError.SASL_AUTHENTICATION_FAILED: f"authentication failed; {_SASL}",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: f"the broker does not offer this SASL mechanism; {_SASL}",
    KafkaError.ILLEGAL_SASL_STATE: f"the broker's listener does not use SASL; {_SASL}",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: f"not authorized for the topic; {_RIGHTS} (READ, DESCRIBE, WRITE)",
    KafkaError.GROUP_AUTHORIZATION_FAILED: f"not authorized for the consumer group; {_RIGHTS} (READ)",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: f"not authorized; {_RIGHTS}",
    KafkaError.TOPIC_EXCEPTION: "Kafka allows no topic of this name: up to 249 letters, digits, '.', '_' and '-'",
    KafkaError.INVALID_SESSION_TIMEOUT: SESSION_REFUSED,
    KafkaError.POLICY_VIOLATION: "a policy of the cluster forbids it",
    KafkaError.UNSUPPORTED_VERSION: "the broker is too old for this client",
    KafkaError._UNSUPPORTED_FEATURE: "the broker is too old for this client",
    KafkaError._INVALID_ARG: "the client refuses it",
    KafkaError._RESOLVE: NO_HOST,
    KafkaError._SSL: "the TLS handshake failed; check security.protocol and the certificates in log.kafka",
}
_NO_CONNECTION = {
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._DESTROY_BROKER,
    KafkaError._WAIT_COORD,
    KafkaError._NOENT,  # no leader is known
}
_WORDS = (  # what a code does not tell
    ("nsupported SASL mechanism", _ADVICE[KafkaError.UNSUPPORTED_SASL_MECHANISM]),
    ("current SASL state", _ADVICE[KafkaError.ILLEGAL_SASL_STATE]),
    ("SSL handshake failed", _ADVICE[KafkaError._SSL]),
)
_DISCONNECTED = "Disconnected"
_SERVER = re.compile(r"(\S+)/(bootstrap|\d+): ")
"""How the client names a server whose connection fails: its address, and its number once a broker has told it."""
_LIST_SECONDS = 0.5
_LISTED_SECONDS = 5.0
_CLOSES = 3  # so often before anything was answered: it is no accident
_CLOSED = "closes each connection: its listener may expect TLS or SASL; check security.protocol in log.kafka"


class Causes:
    """Why a client has no connection, by what it reports beside its answers; its `error_cb`.

    A server that cannot be reached, or refuses the client, is no reason to give up while another may answer: a name
    of a list may have no address while its broker starts. Only what each of them meets is the cluster's.

    Args:
        servers: Where it looks: `HOST:PORT[,HOST:PORT]`.
    """

    def __init__(self, servers: str) -> None:
        self._where, self._count = f"Kafka at {servers}", len(servers.split(","))
        self._last, self._closed, self._answered = "", 0, False
        self._permanent: Problem | None = None
        self._failed: dict[str, bool] = {}  # servers, and whether waiting does not mend it
        self._numbers: set[int] = set()  # of those that have one
        self._client: Any = None
        self._listed: tuple[float, frozenset[int]] = (-_LISTED_SECONDS, frozenset())

    def ask(self, client: Any) -> None:
        """The client itself, which is asked for the brokers of the cluster when some do not answer."""
        self._client = client

    def leave(self) -> None:
        """Let go of the client, which is closed: it knows this object, and the two would keep each other until Python
        looks for such rings. It would still ask for its topics until then, by which one that was deleted is created
        again.
        """
        self._client = None

    def add(self, error: KafkaError) -> None:
        """An error of the client that belongs to no request."""
        told = _told(error)
        advice = next((advice for words, advice in _WORDS if words in told), _ADVICE.get(error.code()))
        permanent = advice is not None and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED
        self._note(told, permanent)
        if permanent:
            self._permanent = Problem(f"{self._where}: {advice} ({told})", permanent=True)
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last = told

    def failed(self, line: str) -> None:
        """What the client logs of a connection that failed; that a listener closes each is no error to it. One that
        has answered speaks the same protocol as the client: its broker ends, or starts.
        """
        self._closed = self._closed + 1 if _DISCONNECTED in line else 0
        closes = self._closed >= _CLOSES and not (self._last or self._answered)
        self._note(line, closes)
        if closes and self._permanent is None:
            self._permanent = Problem(f"{self._where} {_CLOSED}", permanent=True)

    def _note(self, told: str, permanent: bool) -> None:
        if (server := _SERVER.search(told)) is not None:
            self._failed[server[1]] = permanent or self._failed.get(server[1], False)
            if server[2].isdigit():
                self._numbers.add(int(server[2]))

    @property
    def all_failed(self) -> bool:
        """Whether no connection could be opened to as many servers as there are: one of a URL may lead to several."""
        return len(self._failed) >= self._count and (not self._numbers or self._brokers() <= self._numbers)

    def _brokers(self) -> frozenset[int]:
        """The numbers of the cluster's brokers, by one that answers; none if there is none."""
        (when, found), client = self._listed, self._client
        if client is None or time.monotonic() < when + _LISTED_SECONDS:
            return found
        try:
            found = frozenset(client.list_topics(timeout=_LIST_SECONDS).brokers)
        except KafkaException:
            found = frozenset()
        self._listed = time.monotonic(), found
        return found

    def lasting(self) -> Problem | None:
        """What no waiting mends."""
        return self._permanent if self.all_failed and all(self._failed.values()) else None

    def forget(self) -> None:
        """Count only what is reported from now on: what was wrong may be mended."""
        self._permanent = None
        self._failed.clear()
        self._numbers.clear()

    def clear(self) -> None:
        """A broker answered."""
        self.forget()
        self._last, self._closed, self._answered = "", 0, True

    def problem(self, error: KafkaError) -> Problem:
        """What the error of a request means."""
        if (advice := _ADVICE.get(error.code())) is not None:
            return Problem(f"{advice} ({_told(error)})", permanent=True)
        if error.code() not in _NO_CONNECTION:
            return Problem(_told(error))
        if (lasting := self.lasting()) is not None:
            return lasting
        return Problem(
            f"{self._where} is out of reach: {self._last}" if self._last else f"{self._where} does not answer"
        )


def append_error(topic: str, found: Sequence[tuple[int, KafkaError]], limit: int, causes: Causes) -> LogError:
    """The error to raise where some records of a call failed.

    Args:
        topic: Their topic.
        found: The position of each of them, and its error; at least one.
        limit: The largest record that the topic accepts.
        causes: Why there is no connection.
    """
    rows = [row for row, _ in found]
    what = f"topic {topic!r}: Kafka rejected the records"
    if all(error.code() in TOO_LARGE for _, error in found):
        return RecordTooLarge(
            f"{what}: larger than the topic accepts: about {limit} bytes; raise its max.message.bytes "
            f"({_told(found[0][1])})",
            rows,
        )
    if all(error.code() in REFUSED for _, error in found):
        return RecordsRefused(f"{what}: {_told(found[0][1])}", rows)
    return log_error(
        f"topic {topic!r}: not appended",
        causes.problem(next(error for _, error in found if error.code() not in REFUSED)),
    )


def log_error(what: str, problem: Problem) -> LogError:
    """The error to raise for a problem."""
    return (PermanentLogError if problem.permanent else LogError)(f"{what}: {problem.reason}")


def _told(error: KafkaError) -> str:
    return f"{error.name()}: {' '.join(error.str().split())}"
