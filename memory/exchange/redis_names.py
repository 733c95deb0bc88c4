"""The names that a service has in a Redis, and who else has them.

Every key begins with the service's prefix. Two services that learn different logs under one prefix would take each
other's commands and join each other's requests: so the log of each model is recorded, and whoever has another is
refused, until it has another prefix.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from thalweg.memory.exchange.commands import StoreError

if TYPE_CHECKING:
    from thalweg.memory.exchange.redis_client import RedisClient

log = structlog.get_logger(__name__)

PREFIX = "thalweg"
LEAST_SECONDS = 86_400
"""A record of who has a model is kept for at least this long after it was last renewed."""
_RENEW_SECONDS = 60.0
_AGAIN_SECONDS = 2.0
_LONGEST = 300
_NEW = b"-"

_CLAIM = """
local there = redis.call('GET', KEYS[1])
local same, known = pcall(cjson.decode, there or '')
if there and same and type(known) == 'table' and type(known.log) == 'string' and type(known.topic) == 'string' then
  local ours = known.topic == ARGV[3] and (known.log == ARGV[2] or (ARGV[4] ~= '' and known.place == ARGV[4]))
  if not ours and (ARGV[5] == '' or known.log ~= ARGV[5]) then return there end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[6])
return there and '' or '-'
"""


class OtherService(StoreError):
    """Another service has the model under this prefix; the message says who, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLog:
    """What tells a service from others: the log of its models."""

    id: Callable[[], str | None]
    """Of the log; None while it is not known. Does not block."""
    topics: Mapping[str, str]
    """Of each model, by name."""
    place: str = ""
    """Where an embedded log is, for one that is begun anew in the same place; empty: none."""
    moved_from: str = ""
    """The id of a log from which the models were moved to this one; empty: none."""
    keep_seconds: int = LEAST_SECONDS
    """For how long anything of a model may be in the store."""


class RedisNames:
    """The keys and the channel of one service. Thread-safe.

    Args:
        prefix: They all begin with it.
        service: Whose they are; None: nobody is asked.
    """

    def __init__(self, prefix: str = PREFIX, service: ServiceLog | None = None) -> None:
        self.prefix, self._service = prefix, service
        self.channel = f"{prefix}:versions"
        self._next: dict[str, float] = {}
        self._refused: dict[str, str] = {}
        self._ours: set[str] = set()
        self._warned = False

    def commands(self, model: str) -> str:
        return f"{self.prefix}:commands:{model}"

    def answer(self, id: str) -> str:
        return f"{self.prefix}:answer:{id}"

    def ages(self, model: str) -> str:
        return f"{self.prefix}:pending:{model}"

    def event(self, model: str, id: str) -> str:
        return f"{self.prefix}:pending:{model}:{id}"

    def joined(self, model: str) -> str:
        return f"{self.prefix}:joined:{model}"

    def version(self, model: str) -> str:
        return f"{self.prefix}:version:{model}"

    def note(self, model: str) -> str:
        return f"{self.prefix}:note:{model}"

    def hosts(self, model: str) -> str:
        return f"{self.prefix}:note:{model}:hosts"

    def host(self, model: str, host: str) -> str:
        return f"{self.prefix}:note:{model}:host:{host}"

    def service(self, model: str) -> str:
        """Where it is recorded whose a model is: among the notes, which every user of a service may write."""
        return f"{self.prefix}:note:{model}:service"

    def must_be_ours(self, client: RedisClient, model: str) -> None:
        """Raise OtherService if the model is another service's; asks at most once a minute.

        Raises StoreError while the Redis cannot be asked. While the log's id is not known, it is not asked.
        """
        name = re.split("[@~]", model, maxsplit=1)[0]  # a successor or a shard is its model's
        if self._service is None or (topic := self._service.topics.get(name)) is None:
            return
        if time.monotonic() < self._next.get(name, 0.0):
            if name in self._refused:
                raise OtherService(self._refused[name])
            return
        if (id := self._service.id()) is None:
            return
        found = self._claim(client, name, id, topic, self._service)
        self._next[name] = time.monotonic() + (_AGAIN_SECONDS if found else _RENEW_SECONDS)
        if not found:
            self._refused.pop(name, None)
            return
        self._refused[name] = self._told(client.place, name, topic, id, found)
        raise OtherService(self._refused[name])

    def _claim(self, client: RedisClient, name: str, id: str, topic: str, service: ServiceLog) -> bytes:
        """Record the model as this service's; if it is another's, the record of that, else nothing. A record that is
        gone, although it was renewed a minute ago, tells of a store that was emptied.
        """
        from thalweg.memory.exchange.redis_client import NotPermitted  # takes a while to import

        key = self.service(name)
        record = json.dumps({"log": id, "topic": topic, "place": service.place})
        keep = max(LEAST_SECONDS, service.keep_seconds)
        try:
            with client.calling(key) as calls:
                found: bytes = calls.eval(_CLAIM, 1, key, record, id, topic, service.place, service.moved_from, keep)
        except NotPermitted as error:  # users of before that may write less
            if not self._warned:
                log.warning("it cannot be told whether another service has these models", problem=str(error))
            self._warned = True
            return b""
        if found == _NEW and name in self._ours:
            log.error(
                "the store was emptied, or restarted without what it held: requests that waited for labels are lost, "
                "and their labels will be dead letters (unmatched_label); a Redis with appendonly yes keeps them",
                model=name,
                store=client.place,
            )
        if found in (b"", _NEW):
            self._ours.add(name)
            return b""
        return found

    def _told(self, place: str, model: str, topic: str, id: str, found: bytes) -> str:
        try:
            record = json.loads(found)
        except ValueError:  # Lua reads more than JSON
            record = {}
        other = {part: str(record.get(part, ""))[:_LONGEST] for part in ("log", "topic", "place")}
        where = f" at {other['place']}" if other["place"] else ""
        follows = f'set log.moved_from = "{other["log"]}", or ' if other["log"] != id else ""
        return (
            f"store {place}: model {model!r} under the prefix {self.prefix!r} is another service's, which learns topic "
            f"{other['topic']!r} of log {other['log']}{where}; this one learns topic {topic!r} of log {id}: "
            f"nothing is shared with it. Give one of them another store.prefix, or a Redis of its own. If that service "
            f"is gone and this one takes its place: {follows}delete the key {self.service(model)}"
        )
