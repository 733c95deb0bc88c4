"""Which error means what to a caller: one table for gRPC and HTTP."""

from __future__ import annotations

import grpc

from thalweg.memory.snapshots import UnknownVersion
from thalweg.memory.state import DamagedFile
from thalweg.memory.store import StoreError
from thalweg.proto.event import InputError
from thalweg.proto.rejected import Refused
from thalweg.stream.log import LogError


class UnknownModel(LookupError):
    """No model of that name is served; the message names those that are."""


class NotReady(Exception):
    """The model (or the server) cannot answer now; the message says why."""


class QueueFull(Exception):
    """As many requests as may be are being answered; come back in a moment."""


class TooLate(Exception):
    """The caller's deadline has passed, or a wait that was asked for took too long."""


class NotOffered(Exception):
    """This learner, or this version of the service, does not do that."""


class Impossible(Exception):
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
    (TooLate, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    (NotOffered, grpc.StatusCode.UNIMPLEMENTED, 501),
    (Impossible, grpc.StatusCode.FAILED_PRECONDITION, 409),
    (DamagedFile, grpc.StatusCode.FAILED_PRECONDITION, 409),
)
_BY_WORD = {
    "failed_precondition": Impossible,
    "unavailable": NotReady,
    "unimplemented": NotOffered,
}
EXPECTED: tuple[type[Exception], ...] = tuple(row[0] for row in _TABLE)
"""Errors that callers cause or must live with; anything else is a bug of ours."""


def status_of(error: Exception) -> tuple[grpc.StatusCode, int]:
    """The gRPC and the HTTP status of an error."""
    for kind, code, http in _TABLE:
        if isinstance(error, kind):
            return code, http
    return grpc.StatusCode.INTERNAL, 500


def raise_answer(result: object) -> None:
    """Raise what a learner answered to a command, if it was an error."""
    if isinstance(result, dict) and "error" in result:
        raise _BY_WORD.get(str(result["error"]), Impossible)(str(result.get("message", "")))
