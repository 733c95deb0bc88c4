"""Large contents in an object store, in pieces named by their hash, below the owner and sender that put them there.

Only who put them deletes them while it is the owner: one that was superseded can delete nothing that others need.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import structlog

from thalweg.memory.objects.objects import Objects, ObjectsUnavailable
from thalweg.memory.relay.announced import PIECE_BYTES, Announced, Order
from thalweg.memory.relay.board import BoardUnavailable

log = structlog.get_logger(__name__)

_KEPT = 3
"""Announcements whose pieces stay: another host may be fetching them."""
_OWNER = re.compile(r".*/([0-9]{16})-([0-9]{16})/[0-9a-f]{64}", re.ASCII)
_OLD_SECONDS = 3600.0


@dataclass(slots=True)
class _Own:
    """What this sender has put there of one model."""

    owner: tuple[int, int]
    newest: tuple[str, tuple[str, ...]] = "", ()
    """SHA-256 of the newest content, and its pieces."""
    there: set[str] = field(default_factory=set)
    announced: list[frozenset[str]] = field(default_factory=list)
    tried: dict[Order, frozenset[str]] = field(default_factory=dict)
    """Pieces of announcements of which it is not known whether they were made."""
    swept: float = -math.inf
    """Monotonic seconds of the last look at what earlier owners have left."""


class Pieces:
    """The pieces of all models. Each model is put by one thread; any thread may get."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._own: dict[str, _Own] = {}
        self.sent_bytes = 0
        """Of pieces that were uploaded."""

    @property
    def undeleted(self) -> str:
        """As of `Objects`."""
        return self._objects.undeleted

    def put(self, announced: Announced, content: Callable[[], bytes], newest: Order | None = None) -> tuple[str, ...]:
        """Upload what is not there; the hash of each piece, in order. Raises BoardUnavailable.

        `newest`: the order of the newest announcement that is to be seen: earlier ones that failed were never made, and
        what they alone need is deleted.
        """
        own = self._own.get(announced.model)
        if own is None or own.owner != announced.order[:2]:
            own = self._own[announced.model] = _Own(announced.order[:2])
        last = max(own.tried, default=None)  # which may still arrive
        own.tried = {order: pieces for order, pieces in own.tried.items() if order in (newest, last)}
        if own.newest[0] != announced.sha256:
            whole = memoryview(content())
            pieces = [whole[start : start + PIECE_BYTES] for start in range(0, len(whole), PIECE_BYTES)]
            hashes = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
            self._delete(announced, own, own.there.difference(hashes, *own.announced, *own.tried.values()))
            for digest, piece in zip(hashes, pieces, strict=True):
                if digest not in own.there:
                    self._put(_name(announced, digest), bytes(piece))
                    own.there.add(digest)
            own.newest = announced.sha256, hashes
        own.tried[announced.order] = frozenset(own.newest[1])
        return own.newest[1]

    def _put(self, name: str, piece: bytes) -> None:
        try:
            self._objects.put(name, piece)
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error
        self.sent_bytes += len(piece)

    def prune(self, announced: Announced) -> None:
        """It was announced: delete what none of the last ones needs, of earlier owners, too. What cannot be deleted
        stays.
        """
        own = self._own[announced.model]
        if time.monotonic() - own.swept >= _OLD_SECONDS:  # never before: the owner before may have been the newest
            own.swept = time.monotonic()
            self._forget_others(announced)
        own.announced, own.tried = [*own.announced, frozenset(announced.pieces)][-_KEPT:], {}
        self._delete(announced, own, own.there.difference(*own.announced))

    def _delete(self, announced: Announced, own: _Own, unused: Collection[str]) -> None:
        if self._objects.discard(_name(announced, digest) for digest in unused):  # else it is announced all the same
            own.there.difference_update(unused)

    def get(self, announced: Announced, number: int) -> bytes | None:
        """A piece; None if it is gone, or larger than any is. Raises BoardUnavailable."""
        try:
            return self._objects.get(_name(announced, announced.pieces[number]), PIECE_BYTES)
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error

    def _forget_others(self, announced: Announced) -> None:
        """Delete what earlier owners and senders have left, once it is old."""
        try:
            there = self._objects.names(f"{announced.model}/relay")
            newest = max((one.modified for one in there), default=0.0)
            old = [
                one.name
                for one in there
                if (found := _OWNER.fullmatch(one.name)) is not None
                and (int(found[1]), int(found[2])) < announced.order[:2]
                and one.modified < newest - _OLD_SECONDS
            ]
            self._objects.discard(old)
        except ObjectsUnavailable as error:
            log.warning("what earlier senders have left stays", model=announced.model, problem=str(error))


def _name(announced: Announced, digest: str) -> str:
    return f"{announced.model}/relay/{owner_part(announced.order)}/{digest}"


def owner_part(order: Order) -> str:
    """Generation and incarnation, in names."""
    return f"{order.generation:016d}-{order.incarnation:016d}"
