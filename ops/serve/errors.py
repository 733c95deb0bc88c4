"""Which error means what to a caller: one table for gRPC and HTTP."""

from __future__ import annotations

from typing import NoReturn

import grpc
import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.snapshots.snapshots import UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import InputError
from thalweg.stream.log.log import LogError

log = structlog.get_logger(__name__)

_LONGEST_TEXT = 1000  # more would not fit into what clients accept as a status


class UnknownModel(LookupError):
    """No model of that name is served; the message names those that are."""


class NotReady(Exception):
    """The model (or the server) cannot answer now; the message says why."""


class QueueFull(Exception):
    """As many requests as may be are being answered; come back in a moment."""


class TooLarge(Exception):
    """A request of more bytes than are taken; the message names the limit."""


class DeadlineExceeded(Exception):
    """The caller's deadline has passed, or a wait that was requested took too long."""


class Unauthenticated(Exception):
    """This needs a token, and none that is known came with it."""


class Forbidden(Exception):
    """Nobody may do this here; the message says what would have to change."""


class Unimplemented(Exception):
    """This learner, or this version of the service, does not do that."""


class FailedPrecondition(Exception):
    """It cannot be done in the state things are in; the message says what would have to change."""


_TABLE: tuple[tuple[type[Exception], grpc.StatusCode, int], ...] = (
    (InputError, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (Refused, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (UnknownModel, grpc.StatusCode.NOT_FOUND, 404),
    (UnknownVersion, grpc.StatusCode.NOT_FOUND, 404),
    (NotReady, grpc.StatusCode.UNAVAILABLE, 503),
    (LogError, grpc.StatusCode.UNAVAILABLE, 503),
    (StoreError, grpc.StatusCode.UNAVAILABLE, 503),
    (QueueFull, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
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
"""Errors that callers cause or must live with; anything else is a bug of ours."""


def status_of(error: Exception) -> tuple[grpc.StatusCode, int]:
    """The gRPC and the HTTP status of an error."""
    for kind, code, http in _TABLE:
        if isinstance(error, kind):
            return code, http
    return grpc.StatusCode.INTERNAL, 500


def text_of(error: Exception) -> str:
    """What a caller is told; of a bug of ours only that there is one, its story goes to our log."""
    if isinstance(error, EXPECTED):
        text = str(error).encode("utf-8", "backslashreplace").decode()  # or it could not be sent, whatever it quotes
        return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"
    log.exception("a request could not be answered", exc_info=error)
    return "internal error; the server's log says more"


def refuse(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End a call with the status and the text of an error."""
    context.abort(status_of(error)[0], text_of(error))
    raise error  # abort has raised; this line is for the reader


def raise_answer(result: object) -> None:
    """Raise what a learner answered to a command, if it was an error."""
    if isinstance(result, dict) and "error" in result:
        raise _BY_WORD.get(str(result["error"]), FailedPrecondition)(str(result.get("message", "")))
