"""The status of each error: one table for gRPC and HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc
import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.snapshots.snapshots import UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile
from thalweg.ops.serve.bounds.rare_log import RareLog
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import InputError
from thalweg.stream.log.log import LogError, PermanentLogError, RecordsRefused, RecordTooLarge

log = RareLog(structlog.get_logger(__name__))

_LONGEST_TEXT = 1000  # clients do not accept a longer status text


class UnknownModel(LookupError):
    """No model of that name is served; the message lists the served ones."""


class NotReady(Exception):
    """The model (or the server) cannot respond now; the message says why."""


class QueueFull(Exception):
    """The maximum number of requests is being processed; retry later."""


class RateExceeded(Exception):
    """The caller calls more often than it may; the message says when it may again."""


class TooLarge(Exception):
    """The request exceeds the size limit; the message names the limit."""


class UnsupportedMedia(Exception):
    """The body's type or encoding is not supported; the message lists what is."""


class RowsRefused(Exception):
    """Rows of a request are refused.

    Args:
        message: The first of them, why, and what became of the others.
        rows: Each with `row`, `reason` and `detail`.
        appended: Number of the other rows that are in the log all the same.
    """

    def __init__(self, message: str, rows: Sequence[Mapping[str, Any]], appended: int = 0) -> None:
        super().__init__(message)
        self.rows, self.appended = rows, appended


class DeadlineExceeded(Exception):
    """The caller's deadline has passed, or a wait that was requested took too long."""


class Unauthenticated(Exception):
    """The call requires a valid token, and there was none."""


class Forbidden(Exception):
    """The operation is not allowed here; the message says what would have to change."""


class Unimplemented(Exception):
    """The learner, or this version of the service, does not support the operation."""


class FailedPrecondition(Exception):
    """The operation is not possible in the present state; the message says what would have to change."""


_TABLE: tuple[tuple[type[Exception], grpc.StatusCode, int], ...] = (
    (InputError, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (Refused, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (RowsRefused, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (UnknownModel, grpc.StatusCode.NOT_FOUND, 404),
    (UnknownVersion, grpc.StatusCode.NOT_FOUND, 404),
    (NotReady, grpc.StatusCode.UNAVAILABLE, 503),
    (RecordTooLarge, grpc.StatusCode.INVALID_ARGUMENT, 413),
    (RecordsRefused, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (PermanentLogError, grpc.StatusCode.FAILED_PRECONDITION, 503),
    (LogError, grpc.StatusCode.UNAVAILABLE, 503),
    (StoreError, grpc.StatusCode.UNAVAILABLE, 503),
    (QueueFull, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (RateExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    (UnsupportedMedia, grpc.StatusCode.INVALID_ARGUMENT, 415),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, 401),
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED, 403),
    (Unimplemented, grpc.StatusCode.UNIMPLEMENTED, 501),
    (FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION, 409),
    (DamagedFile, grpc.StatusCode.FAILED_PRECONDITION, 409),
)
_BY_WORD = {
    "failed_precondition": FailedPrecondition,
    "unavailable": NotReady,
    "unimplemented": Unimplemented,
}
EXPECTED: tuple[type[Exception], ...] = tuple(row[0] for row in _TABLE)
"""Errors that callers cause or must expect; any other is a bug of the service."""


def status_of(error: Exception) -> tuple[grpc.StatusCode, int]:
    """The gRPC and the HTTP status of an error."""
    for kind, code, http in _TABLE:
        if isinstance(error, kind):
            return code, http
    return grpc.StatusCode.INTERNAL, 500


def text_of(error: Exception) -> str:
    """The text for the caller; for a bug only that there is one, while the details go to the log."""
    if isinstance(error, EXPECTED):
        text = (
            str(error).encode("utf-8", "backslashreplace").decode()
        )  # otherwise it could not be sent, whatever it quotes
        return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"
    log.failed("request failed", error)
    return "internal error; see the server's log"


def refuse(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End a call with the status and the text of an error."""
    context.abort(status_of(error)[0], text_of(error))
    raise error  # abort raises; for the reader and the type checker


def raise_answer(result: object) -> None:
    """Raise the error with which a learner responded to a command, if any."""
    if isinstance(result, dict) and "error" in result:
        raise _BY_WORD.get(str(result["error"]), FailedPrecondition)(str(result.get("message", "")))
