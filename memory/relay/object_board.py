"""The board in an object store: an object for each announcement, whose name says its order. The highest counts.

So what a superseded owner writes late is never looked at, as with `RemoteSnapshots`. Nobody tells of new objects: they
are looked for.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from thalweg.memory.objects.objects import Objects, ObjectsUnavailable
from thalweg.memory.relay.announced import MOST_RECORD_BYTES, Announced, Order, Poisoned, decode
from thalweg.memory.relay.board import HOST_SECONDS, MOST_NOTE_BYTES, BoardUnavailable, Found, overtaken
from thalweg.memory.relay.pieces import Pieces, owner_part

INLINE_BYTES = 64 << 10
"""Contents up to this size are in the announcement's object, which is written anew for each confirmation."""
_HEAD = re.compile(r"([0-9]{16})-([0-9]{16})-([0-9]{16})", re.ASCII)
_KEPT = 4
_LIST_SECONDS = 0.5
"""Between two lists of a follower. Meanwhile it asks for the announcement that the same sender would make next: one
request, and a list costs as much as a dozen of those. What it finds counts if a list has nothing newer."""
_CHECK_SECONDS = 1.0
_TRIES = 3
_GONE_SECONDS = 3600.0
"""What a host noted is deleted after this long without a note."""


class ObjectBoard:
    """See `VersionBoard`."""

    notifies = False

    def __init__(self, objects: Objects, pieces: Pieces, clock: Callable[[], float] = time.time) -> None:
        self.place = objects.url
        self._objects, self._pieces, self._clock = objects, pieces, clock
        self._checked: dict[str, float] = {}
        self._listed: dict[str, float] = {}
        self._swept: dict[str, float] = {}
        self._newest: dict[str, Order | None] = {}

    @property
    def undeleted(self) -> str:
        return self._objects.undeleted

    def newest(self, model: str) -> Order | None:
        return max(self._heads(model), default=None)

    def offer(self, announced: Announced, content: Callable[[], bytes]) -> None:
        model = announced.model
        if time.monotonic() - self._checked.get(model, -_CHECK_SECONDS) >= _CHECK_SECONDS:  # before much is uploaded
            heads = self._heads(model)
            self._must_be_newest(announced, heads)
            self._newest[model] = max(heads, default=None)
        if announced.size_bytes <= INLINE_BYTES:
            put = announced.encode() + b"\n" + content()
        else:
            announced = replace(announced, pieces=self._pieces.put(announced, content, self._newest[model]))
            put = announced.encode() + b"\n"
        try:
            self._objects.put(_name(announced), put)
            heads = self._heads(model)
            self._must_be_newest(announced, heads)
            self._objects.discard(_head(model, order) for order in sorted(heads)[:-_KEPT])
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error
        self._checked[model], self._newest[model] = time.monotonic(), max(heads)
        if announced.pieces:
            self._pieces.prune(announced)

    def read(self, model: str, after: Order | None, known: Collection[str] = ()) -> Found | None:
        following, there = None, None
        if after is not None and time.monotonic() - self._listed.get(model, -math.inf) < _LIST_SECONDS:
            following = after._replace(sequence=after.sequence + 1)
            if (there := self._get(model, following)) is None:
                return None
        for _ in range(_TRIES):
            heads = self._heads(model)
            self._listed[model] = time.monotonic()
            newest = max(heads, default=None)
            if newest is None or (after is not None and newest <= after):
                return None
            content = there if newest == following else self._get(model, newest)
            if content is None:  # it was replaced, or is larger than any
                continue
            record, _, inline = content.partition(b"\n")
            announced = decode(record, model)
            if announced.order != newest:
                raise Poisoned(f"{_head(model, newest)}: names another order, {tuple(announced.order)}")
            age = max(0.0, self._clock() - heads[newest])
            return Found(announced, age, None if announced.pieces or announced.sha256 in known else inline)
        raise Poisoned(f"{self.place}: the newest announcement of {model!r} cannot be read: it is gone or too large")

    def fetch(self, announced: Announced, number: int) -> bytes | None:
        return self._pieces.get(announced, number)

    def note(self, model: str, content: bytes) -> None:
        try:
            self._objects.put(_note(model), content)
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error

    def noted(self, model: str) -> bytes | None:
        try:
            return self._objects.get(_note(model), MOST_NOTE_BYTES)
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error

    def note_host(self, model: str, host: str, content: bytes) -> None:
        try:
            self._objects.put(f"{_hosts(model)}/{host}", content)
            if time.monotonic() - self._swept.get(model, -HOST_SECONDS) >= HOST_SECONDS:
                self._swept[model] = time.monotonic()
                there = self._objects.names(_hosts(model))
                newest = max((one.modified for one in there), default=0.0)
                self._objects.discard(one.name for one in there if newest - one.modified > _GONE_SECONDS)
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error

    def hosts_noted(self, model: str) -> dict[str, bytes]:
        try:
            there = self._objects.names(_hosts(model))
            newest = max((one.modified for one in there), default=0.0)
            late = [one.name for one in there if newest - one.modified <= HOST_SECONDS]
            found = {name.rpartition("/")[2]: self._objects.get(name, MOST_NOTE_BYTES) for name in late}
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error
        return {host: content for host, content in found.items() if content is not None}

    def listen(self, told: Callable[[str], None], stopped: Callable[[], bool]) -> None: ...

    def close(self) -> None: ...

    def _get(self, model: str, order: Order) -> bytes | None:
        try:
            return self._objects.get(_head(model, order), MOST_RECORD_BYTES + INLINE_BYTES)
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error

    def _must_be_newest(self, announced: Announced, heads: Collection[Order]) -> None:
        newest = max(heads, default=None)
        if newest is not None and newest > announced.order:
            raise overtaken(announced, newest, "")

    def _heads(self, model: str) -> dict[Order, float]:
        """When each was put there, Unix seconds by the store's clock. Raises BoardUnavailable."""
        try:
            there = self._objects.names(f"{model}/announced")
        except ObjectsUnavailable as error:
            raise BoardUnavailable(str(error)) from error
        found = ((_HEAD.fullmatch(one.name.rpartition("/")[2]), one.modified) for one in there)
        return {Order(int(one[1]), int(one[2]), int(one[3])): modified for one, modified in found if one is not None}


def _name(announced: Announced) -> str:
    return _head(announced.model, announced.order)


def _head(model: str, order: Order) -> str:
    return f"{model}/announced/{owner_part(order)}-{order.sequence:016d}"


def _hosts(model: str) -> str:
    return f"{model}/announced-hosts"


def _note(model: str) -> str:
    return f"{model}/announced-note"
