"""What the errors of kafka-python mean to this service: whether waiting helps, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafka import TopicPartition, errors
from kafka.errors import KafkaError

from thalweg.stream.log.kafka_shared.consumer import ClientError
from thalweg.stream.log.kafka_shared.members import NO_HOST, SESSION_REFUSED
from thalweg.stream.log.log import LogError, PermanentLogError, Problem, RecordsRefused, RecordTooLarge

TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
"""The record, or the batch it travels in, is larger than the topic or the client allows."""
REFUSED = (*TOO_LARGE, errors.InvalidRecordError, errors.InvalidTimestampError, UnicodeError)
"""The record can never be appended, whatever else is."""
_BESIDE_REFUSED = "part of a batch"
_SASL = "check log.kafka: sasl.mechanism, sasl.username, sasl.password, security.protocol"
_RIGHTS = "grant the service's user the right to it"
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (errors.SaslAuthenticationFailedError, f"authentication failed; {_SASL}"),
    (errors.UnsupportedSaslMechanismError, f"the broker does not offer this SASL mechanism; {_SASL}"),
    (errors.IllegalSaslStateError, f"the broker's listener does not use SASL; {_SASL}"),
    (errors.TopicAuthorizationFailedError, f"not authorized for the topic; {_RIGHTS} (READ, DESCRIBE, WRITE)"),
    (errors.GroupAuthorizationFailedError, f"not authorized for the consumer group; {_RIGHTS} (READ)"),
    (errors.AuthorizationError, f"not authorized; {_RIGHTS}"),
    (errors.InvalidTopicError, "Kafka allows no topic of this name: up to 249 letters, digits, '.', '_' and '-'"),
    (errors.InvalidSessionTimeoutError, SESSION_REFUSED),
    (errors.PolicyViolationError, "a policy of the cluster forbids it"),
    (errors.UnsupportedVersionError, "the broker is too old for this client"),
    (errors.KafkaConfigurationError, "the client refuses its properties; check log.kafka"),
    (ValueError, "the client refuses them"),
)
_CONNECTION = (
    ("DNS", NO_HOST),
    ("Handshake failed", "the TLS handshake failed; check security.protocol and the certificates in log.kafka"),
)
_OUT_OF_REACH = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.NodeNotReadyError,
    errors.MetadataEmptyBrokerList,
)
_CLOSED = "socket disconnected"
_CLOSED_PLAIN = "its listener may expect TLS or SASL; check security.protocol in log.kafka"
_CLOSED_SASL = f"authentication failed, or its listener expects another mechanism or protocol; {_SASL}"


class NotConnected(KafkaError):  # type: ignore[misc]  # kafka-python has no types
    """The client could not connect; the message says why, which the client's own error does not."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def problem_of(error: Exception, where: str = "", brokers: int = 1) -> Problem:
    """What this error means to somebody who waits.

    Args:
        error: It.
        where: The cluster, named where it was out of reach: an error of a connection need not name a broker.
        brokers: How many brokers are known. That one of several cannot be connected to may end by itself.
    """
    if isinstance(error, (NotConnected, ClientError)):
        return error.problem
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return Problem(f"{advice} ({text(error)})", permanent=True)
    if isinstance(error, errors.KafkaConnectionError):
        for words, advice in _CONNECTION:
            if words in str(error):
                of = f"one of {brokers} brokers: " if brokers > 1 else ""
                return Problem(f"{of}{advice} ({text(error)})", permanent=brokers < 2)
    if where and isinstance(error, _OUT_OF_REACH):
        return Problem(f"{where} is out of reach: {text(error)}")
    return Problem(text(error))


def no_connection(
    servers: Sequence[str], causes: Sequence[tuple[str, BaseException]], sasl: bool = False
) -> NotConnected:
    """The error of a client that found no broker.

    Args:
        servers: Where it looked.
        causes: Why each attempt to connect failed, oldest first, after the server that it was to.
        sasl: Whether it has to authenticate.
    """
    where = f"Kafka at {', '.join(servers)}"
    problems = [(server, problem_of(cause)) for server, cause in causes if isinstance(cause, Exception)]
    if not problems:
        return NotConnected(Problem(f"{where} does not answer"))
    # a broker says why and closes the connection; the client may see only that it is closed
    told = [(server, problem) for server, problem in problems if _CLOSED not in problem.reason]
    if told and all(problem.permanent for _, problem in told):  # else one of several may be back soon
        return NotConnected(Problem(f"{where}: {told[0][1].reason}", permanent=True))
    if not told:
        return NotConnected(Problem(f"{where} closes each connection: {_CLOSED_SASL if sasl else _CLOSED_PLAIN}", True))
    newest = {server: problem.reason for server, problem in told}
    each = [f"{server}: {reason}" if len(newest) > 1 else reason for server, reason in newest.items()]
    return NotConnected(Problem(f"{where} is out of reach: {'; '.join(each)}"))


def client_error(error: Exception, where: str, brokers: int = 1) -> ClientError:
    """The error of a reader's client for one of kafka-python's; `where` and `brokers` as for `problem_of`."""
    return ClientError(problem_of(error, where, brokers))


def log_error(what: str, error: Exception, where: str, brokers: int = 1) -> LogError:
    """The error to raise for one of the client's; `where` and `brokers` as for `problem_of`."""
    problem = problem_of(error, where, brokers)
    return (PermanentLogError if problem.permanent else LogError)(f"{what}: {problem.reason}")


def in_doubt(error: Exception) -> bool:
    """Whether a record was refused, or only another of its batch, for which kafka-python has no type."""
    return isinstance(error, REFUSED) or (type(error) is errors.KafkaError and _BESIDE_REFUSED in str(error))


def append_error(topic: str, found: Sequence[tuple[int, Exception]], limit: int, where: str) -> LogError:
    """The error to raise where some records of a call failed.

    Args:
        topic: Their topic.
        found: The position of each of them, and its error; at least one.
        limit: The largest record that the topic accepts.
        where: The cluster.
    """
    rows = [row for row, _ in found]
    what = f"topic {topic!r}: Kafka rejected the records"
    if all(isinstance(error, TOO_LARGE) for _, error in found):
        return RecordTooLarge(
            f"{what}: larger than the topic accepts: about {limit} bytes; raise its max.message.bytes "
            f"({text(found[0][1])})",
            rows,
        )
    if all(isinstance(error, REFUSED) for _, error in found):
        return RecordsRefused(f"{what}: {text(found[0][1])}", rows)
    passing = [error for _, error in found if not isinstance(error, REFUSED)]
    return log_error(f"topic {topic!r}: not appended", passing[0], where)


def text(error: BaseException) -> str:
    """The error in one line, its class first."""
    name, said = type(error).__name__, " ".join(str(error).split())
    return said if name in said else f"{name}: {said}" if said else name


def all_there(parts: Sequence[TopicPartition], *answers: Mapping[TopicPartition, int]) -> None:
    """Raise UnknownTopicOrPartitionError if an answer lacks one of them: the topic was created again with fewer."""
    for part in parts:
        if any(part not in answer for answer in answers):
            raise errors.UnknownTopicOrPartitionError(f"{part.topic} has no partition {part.partition}")
