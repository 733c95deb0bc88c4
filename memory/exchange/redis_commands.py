"""The command queue in Redis, shared across hosts."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import redis
import structlog

from thalweg.memory.exchange.commands import EXPIRE_SECONDS, MOST_COMMANDS, Command, StoreError

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.05  # a poll goes over the network …
_GLANCE_SECONDS = 0.25  # … and a learner waits no longer for it …
_PAUSE_SECONDS = 5.0  # … and does not poll again sooner after a failure


class RedisCommandQueue:
    """Commands are a list per model, responses one key each that expires."""

    def __init__(self, url: str) -> None:
        try:
            self._client = redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=2.0)
            self._glance = redis.Redis.from_url(
                url, socket_timeout=_GLANCE_SECONDS, socket_connect_timeout=_GLANCE_SECONDS, retry=None
            )
        except (ValueError, redis.RedisError) as error:
            raise StoreError(f"store {masked(url)}: {error}") from error
        self._place = masked(url)
        self._look_after: dict[str, float] = {}
        self._reachable = True

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        id = uuid.uuid4().hex
        record = json.dumps({"id": id, "verb": verb, "arguments": dict(arguments), "asked": time.time()})
        try:
            if self._client.llen(_waiting(model)) >= MOST_COMMANDS:
                raise StoreError(f"{MOST_COMMANDS} commands are waiting for model {model!r}; is its learner running?")
            with self._client.pipeline() as pipeline:
                pipeline.rpush(_waiting(model), record)
                pipeline.expire(_waiting(model), int(EXPIRE_SECONDS))
                pipeline.execute()
        except redis.RedisError as error:
            raise StoreError(f"store {self._place}: {error}") from error
        return id

    def poll(self, model: str) -> list[Command]:
        now = time.monotonic()
        if now < self._look_after.get(model, 0.0):
            return []
        self._look_after[model] = now + _LOOK_SECONDS
        try:
            records: Any = self._glance.lpop(_waiting(model), MOST_COMMANDS)
        except redis.RedisError as error:
            self._look_after[model] = time.monotonic() + _PAUSE_SECONDS
            if self._reachable:
                log.warning("store unavailable: commands wait", store=self._place, problem=str(error))
            self._reachable = False
            return []
        self._reachable = True
        commands = []
        for record in records or []:
            try:
                entry = json.loads(record)
                if entry["asked"] >= time.time() - EXPIRE_SECONDS:
                    commands.append(Command(entry["id"], entry["verb"], dict(entry["arguments"])))
            except (ValueError, KeyError, TypeError) as error:  # not written by us: no reason to die
                log.warning("not a command: skipped", store=self._place, model=model, problem=repr(error))
        return commands

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        try:
            with self._client.pipeline() as pipeline:
                pipeline.rpush(_answer(id), json.dumps(dict(result)))
                pipeline.expire(_answer(id), int(EXPIRE_SECONDS))
                pipeline.execute()
        except redis.RedisError as error:
            raise StoreError(f"store {self._place}: {error}") from error

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        deadline = time.monotonic() + timeout_seconds
        try:
            found: Any = None
            while (found := self._client.lindex(_answer(id), 0)) is None:
                if time.monotonic() >= deadline:
                    return None
                time.sleep(0.01)
        except redis.RedisError as error:
            raise StoreError(f"store {self._place}: {error}") from error
        result: Mapping[str, Any] = json.loads(found)
        return result

    def close(self) -> None:
        self._client.close()
        self._glance.close()


def _waiting(model: str) -> str:
    return f"thalweg:commands:{model}"


def _answer(id: str) -> str:
    return f"thalweg:answer:{id}"


def masked(url: str) -> str:
    """The URL without user and password, which may be before the host or in the query."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
