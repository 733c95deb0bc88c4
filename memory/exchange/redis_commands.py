"""The command queue in Redis, shared across hosts."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import structlog

from thalweg.memory.exchange.commands import EXPIRE_SECONDS, MOST_COMMANDS, Command, StoreError
from thalweg.memory.exchange.redis_client import RedisClient
from thalweg.memory.exchange.redis_names import RedisNames

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.05  # a poll goes over the network …
_GLANCE_SECONDS = 0.25  # … and a learner waits no longer for it …
_PAUSE_SECONDS = 5.0  # … and does not poll again sooner after a failure


class RedisCommandQueue:
    """Commands are a list per model, responses one key each that expires."""

    def __init__(self, url: str, names: RedisNames | None = None) -> None:
        self._names = names or RedisNames()
        self._client = RedisClient(url, 5.0, 2.0, retried=True)
        self._glance = RedisClient(url, _GLANCE_SECONDS, _GLANCE_SECONDS)
        self._look_after: dict[str, float] = {}
        self._reachable = True

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        id, key = uuid.uuid4().hex, self._names.commands(model)
        record = json.dumps({"id": id, "verb": verb, "arguments": dict(arguments), "asked": time.time()})
        self._names.must_be_ours(self._client, model)
        with self._client.calling(key) as client:
            if client.llen(key) >= MOST_COMMANDS:
                raise StoreError(f"{MOST_COMMANDS} commands are waiting for model {model!r}; is its learner running?")
            with client.pipeline() as pipeline:
                pipeline.rpush(key, record)
                pipeline.expire(key, int(EXPIRE_SECONDS))
                pipeline.execute()
        return id

    def poll(self, model: str) -> list[Command]:
        now = time.monotonic()
        if now < self._look_after.get(model, 0.0):
            return []
        self._look_after[model] = now + _LOOK_SECONDS
        key = self._names.commands(model)
        try:
            self._names.must_be_ours(self._glance, model)
            with self._glance.calling(key) as client:
                records: Any = client.lpop(key, MOST_COMMANDS)
        except StoreError as error:
            self._look_after[model] = time.monotonic() + _PAUSE_SECONDS
            if self._reachable:
                log.warning("store unavailable: commands wait", store=self._glance.place, problem=str(error))
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
                log.warning("not a command: skipped", store=self._glance.place, model=model, problem=repr(error))
        return commands

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        key = self._names.answer(id)
        with self._client.calling(key) as client, client.pipeline() as pipeline:
            pipeline.rpush(key, json.dumps(dict(result)))
            pipeline.expire(key, int(EXPIRE_SECONDS))
            pipeline.execute()

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        deadline, key = time.monotonic() + timeout_seconds, self._names.answer(id)
        found: Any = None
        with self._client.calling(key) as client:
            while (found := client.lindex(key, 0)) is None:
                if time.monotonic() >= deadline:
                    return None
                time.sleep(0.01)
        result: Mapping[str, Any] = json.loads(found)
        return result

    def close(self) -> None:
        self._client.close()
        self._glance.close()
