"""The board in Redis: one hash per model, replaced by a script that refuses what is older, and a channel that tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.redis_client import REFUSAL, RedisClient, WrongType
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.relay.announced import MOST_RECORD_BYTES, Announced, Order, Poisoned, decode
from thalweg.memory.relay.board import (
    HOST_SECONDS,
    INLINE_BYTES,
    MOST_NOTE_BYTES,
    BoardUnavailable,
    Found,
    TooLarge,
    overtaken,
)
from thalweg.memory.relay.pieces import Pieces

MOST_ALONE_BYTES = 64 << 20
"""Without an object store, contents up to this size go by Redis, too."""
_TIMEOUT_SECONDS = 5.0
_LISTEN_SECONDS = 0.5
_PING_SECONDS, _SILENT_SECONDS = 1.0, 4.0
"""Who listens asks so often whether the connection lives, and takes it for dead without an answer for so long: one that
something on the way has forgotten ends by no error."""
_NOTE_SECONDS = 86_400

_OFFER = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local known = redis.call('HMGET', KEYS[1], 'generation', 'incarnation', 'sequence', 'sha256', 'sender')
for at = 1, 3 do
  local there, new = tonumber(known[at] or '') or 0, tonumber(ARGV[at])
  if new < there then return {'overtaken', known[1] or '0', known[2] or '0', known[3] or '0', known[5] or ''} end
  if new > there then break end
end
if ARGV[7] == 'content' then
  if known[4] ~= ARGV[4] or redis.call('HSTRLEN', KEYS[1], 'content') == 0 then return {'missing'} end
elseif ARGV[7] == 'pieces' then redis.call('HDEL', KEYS[1], 'content')
else redis.call('HSET', KEYS[1], 'content', ARGV[8]) end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'incarnation', ARGV[2], 'sequence', ARGV[3], 'sha256', ARGV[4],
  'sender', ARGV[5], 'record', ARGV[6], 'second', now[1], 'microsecond', now[2])
redis.call('PUBLISH', ARGV[10], ARGV[9])
return {'taken'}
"""
"""All of it or nothing: whoever was overtaken can change nothing between its look and its write."""

_READ = """
if redis.call('TYPE', KEYS[1]).ok == 'none' then return {'none'} end
local known = redis.call('HMGET', KEYS[1], 'generation', 'incarnation', 'sequence', 'second', 'microsecond', 'sha256')
local newer = ARGV[1] == ''
for at = 1, 3 do
  if newer then break end
  local there, after = tonumber(known[at] or '') or 0, tonumber(ARGV[at])
  if there < after or (at == 3 and there == after) then return {'none'} end
  if there > after then newer = true end
end
if redis.call('HSTRLEN', KEYS[1], 'record') > tonumber(ARGV[4]) then return {'large', 'record'} end
if redis.call('HSTRLEN', KEYS[1], 'content') > tonumber(ARGV[5]) then return {'large', 'content'} end
local wanted = true
for at = 6, #ARGV do wanted = wanted and ARGV[at] ~= known[6] end
local content = wanted and redis.call('HGET', KEYS[1], 'content') or ''
local now = redis.call('TIME')
local age = (now[1] - (tonumber(known[4] or '') or 0)) + (now[2] - (tonumber(known[5] or '') or 0)) / 1e6
return {'found', redis.call('HGET', KEYS[1], 'record') or '', content, string.format('%.6f', age)}
"""


class _Foreign(BoardUnavailable):
    """A key holds something that no service has written."""


class RedisBoard:
    """See `VersionBoard`.

    Args:
        url: Of the Redis.
        pieces: Takes contents that are too large for Redis; None: there is no object store.
        names: Of its keys and its channel; None: the usual ones, whoever else has them.

    Raises:
        StoreError: The URL has another form.
    """

    notifies = True

    def __init__(self, url: str, pieces: Pieces | None = None, names: RedisNames | None = None) -> None:
        self._names, self._pieces = names or RedisNames(), pieces
        self._most = INLINE_BYTES if pieces is not None else MOST_ALONE_BYTES
        self._sent: dict[str, str] = {}
        """SHA-256 of the content of each model that was sent last."""
        self._client = RedisClient(url, _TIMEOUT_SECONDS, 2.0)
        self.place = self._client.place

    @property
    def undeleted(self) -> str:
        return "" if self._pieces is None else self._pieces.undeleted

    def newest(self, model: str) -> Order | None:
        try:
            with self._calling(model, self._names.version(model)) as client:
                there: Any = client.hmget(self._names.version(model), "generation", "incarnation", "sequence")
            return None if None in there else Order(*map(int, there))
        except _Foreign:
            return None  # what is offered replaces it
        except ValueError:
            return None

    def offer(self, announced: Announced, content: Callable[[], bytes]) -> None:
        if announced.size_bytes > self._most:
            if self._pieces is None:
                raise TooLarge(
                    f"a version of {announced.size_bytes:,} bytes is too large for {self.place} (at most "
                    f"{self._most:,}): service.state_url is needed"
                )
            if (newest := self.newest(announced.model)) is not None and newest > announced.order:
                raise overtaken(announced, newest, "")  # before it is uploaded
            placed = replace(announced, pieces=self._pieces.put(announced, content, newest))
            self._announce(placed, b"", "pieces")
            self._pieces.prune(placed)
            return
        there = self._sent.get(announced.model) == announced.sha256  # else one request more, in which it waits
        if not there or not self._announce(announced, b"", "content"):
            self._announce(announced, content(), "")
        self._sent[announced.model] = announced.sha256

    def read(self, model: str, after: Order | None, known: Collection[str] = ()) -> Found | None:
        order = ("", "", "") if after is None else tuple(map(str, after))
        key = self._names.version(model)
        found = self._run(model, _READ, key, *order, MOST_RECORD_BYTES, MOST_ALONE_BYTES, *known)
        if found[0] == b"none":
            return None
        if found[0] == b"large":
            raise Poisoned(f"{self.place}: the {found[1].decode()} of {model!r} is larger than any that is announced")
        announced = decode(found[1], model)
        age = float(found[3])
        content = None if announced.pieces or announced.sha256 in known else found[2]
        return Found(announced, max(0.0, age) if math.isfinite(age) else None, content)

    def fetch(self, announced: Announced, number: int) -> bytes | None:
        return None if self._pieces is None else self._pieces.get(announced, number)

    def note(self, model: str, content: bytes) -> None:
        with self._calling(model, self._names.note(model)) as client:
            client.set(self._names.note(model), content, ex=_NOTE_SECONDS)

    def noted(self, model: str) -> bytes | None:
        try:
            with self._calling(model, self._names.note(model)) as client:
                found: Any = client.getrange(self._names.note(model), 0, MOST_NOTE_BYTES)
        except _Foreign:
            return None
        return found if found and len(found) <= MOST_NOTE_BYTES else None

    def note_host(self, model: str, host: str, content: bytes) -> None:
        hosts = self._names.hosts(model)
        with self._calling(model, hosts) as client, client.pipeline(transaction=False) as several:
            several.set(self._names.host(model, host), content, ex=int(HOST_SECONDS))
            several.sadd(hosts, host)
            several.expire(hosts, _NOTE_SECONDS)
            several.execute()

    def hosts_noted(self, model: str) -> dict[str, bytes]:
        key = self._names.hosts(model)
        try:
            with self._calling(model, key) as client:
                hosts = sorted(one.decode("utf-8", "replace") for one in client.smembers(key))
                with client.pipeline(transaction=False) as several:  # in a cluster each is somewhere else
                    for host in hosts:
                        several.get(self._names.host(model, host))
                    found: Any = several.execute() if hosts else []
                if gone := [host for host, one in zip(hosts, found) if one is None]:
                    client.srem(key, *gone)
        except _Foreign:
            return {}
        return {host: one for host, one in zip(hosts, found) if one is not None and len(one) <= MOST_NOTE_BYTES}

    def listen(self, told: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        try:
            with (
                self._client.calling(self._names.channel) as client,
                client.pubsub(ignore_subscribe_messages=True) as heard,
            ):
                heard.subscribe(self._names.channel)
                lived = asked = monotonic()
                while not stopped():
                    if monotonic() - asked >= _PING_SECONDS:
                        asked = monotonic()
                        heard.ping()
                    try:
                        message: Any = heard.get_message(timeout=_LISTEN_SECONDS)
                    except REFUSAL as error:
                        if "ping" not in str(error).lower():
                            raise
                        # it may not ask that, and listens all the same
                        asked, lived, message = math.inf, math.inf, None
                        continue
                    if message is not None:
                        lived = max(lived, monotonic())
                    elif monotonic() - lived > _SILENT_SECONDS:
                        raise BoardUnavailable(f"store {self.place}: the connection that tells what is new has died")
                    if message is not None and message["type"] == "message" and isinstance(message["data"], bytes):
                        told(message["data"].decode("utf-8", "replace"))
        except StoreError as error:
            raise BoardUnavailable(str(error)) from error
        except ValueError as error:  # of the library, about a connection that was closed
            raise BoardUnavailable(f"store {self.place}: {error}") from error

    def close(self) -> None:
        self._client.close()

    def _announce(self, announced: Announced, content: bytes, how: str) -> bool:
        """Whether it was announced; else its content is missing there. Raises as `offer`."""
        answer = self._run(
            announced.model,
            _OFFER,
            self._names.version(announced.model),
            *map(str, announced.order),
            announced.sha256,
            announced.sender,
            announced.encode(),
            how,
            content,
            announced.model,
            self._names.channel,
        )
        if answer[0] == b"overtaken":
            newer = Order(*(int(float(one)) for one in answer[1:4]))
            raise overtaken(announced, newer, answer[4].decode("utf-8", "replace"))
        return bool(answer[0] == b"taken")

    def _run(self, model: str, script: str, key: str, *arguments: Any) -> Any:
        with self._calling(model, key) as client:
            return client.eval(script, 1, key, *arguments)

    @contextmanager
    def _calling(self, model: str, key: str) -> Iterator[Any]:
        """Raises BoardUnavailable for all that goes wrong."""
        try:
            self._names.must_be_ours(self._client, model)
            with self._client.calling(key) as client:
                yield client
        except WrongType as error:
            raise _Foreign(str(error)) from error
        except StoreError as error:
            raise BoardUnavailable(str(error)) from error
