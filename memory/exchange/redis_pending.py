"""Events that wait for their label, in Redis, and how far they are joined: by any server, for any learner."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import redis

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.pending import USUAL, Limits, Waiting, labels_of
from thalweg.memory.exchange.redis_commands import masked

_PATIENCE_SECONDS = 1.0


class RedisPending:
    """One hash per event, which expires, and per model a sorted set of ids by age, to find the oldest."""

    def __init__(self, url: str, limits: Limits = USUAL, clock: Callable[[], float] = time.time) -> None:
        self._limits, self._clock = limits, clock
        self._place = masked(url)
        try:
            self._client = redis.Redis.from_url(
                url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS, retry=None
            )
        except (ValueError, redis.RedisError) as error:
            raise StoreError(f"store {self._place}: {error}") from error

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        now, life = self._clock(), math.ceil(self._limits.seconds)
        ages = f"thalweg:pending:{model}"
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for id, moment, value in entries:
                    key = _key(model, id)
                    pipeline.hsetnx(key, "value", value)
                    pipeline.hsetnx(key, "time", repr(moment))
                    pipeline.expire(key, life)
                pipeline.zadd(ages, {id: now for id, _, _ in entries}, nx=True)
                pipeline.zremrangebyscore(ages, 0, now - self._limits.seconds)
                pipeline.zcard(ages)
                pipeline.expire(ages, life)
                count = pipeline.execute()[-2]
            if count > self._limits.events:
                oldest: Any = self._client.zpopmin(ages, count - self._limits.events)
                self._client.delete(*(_key(model, id.decode()) for id, _ in oldest))
        except redis.RedisError as error:
            raise StoreError(f"store {self._place}: {error}") from error

    def find(self, model: str, ids: Sequence[str]) -> list[Waiting | None]:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for id in ids:
                    pipeline.hmget(_key(model, id), "time", "value", "by")
                found = pipeline.execute()
        except redis.RedisError as error:
            raise StoreError(f"store {self._place}: {error}") from error
        return [
            None if moment is None else Waiting(float(moment), value or b"", (by or b"").decode("utf-8", "replace"))
            for moment, value, by in found
        ]

    def settle(self, model: str, ids: Collection[str]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for id, label in labels_of(ids):
                    pipeline.eval(_SETTLE, 1, _key(model, id), label)
                pipeline.execute()
        except redis.RedisError as error:
            raise StoreError(f"store {self._place}: {error}") from error

    def check(self) -> None:
        try:
            self._client.ping()
        except redis.RedisError as error:
            raise StoreError(f"store {self._place}: {error}") from error

    def close(self) -> None:
        self._client.close()


_SETTLE = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'value', '', 'by', ARGV[1]) end"
"""Only existing hashes: writing to one that has expired would keep it for ever."""


def _key(model: str, id: str) -> str:
    return f"thalweg:pending:{model}:{id}"


class RedisPlace:
    """How far one model's labels are joined; it does not expire.

    Args:
        url: The store.
        model: The model.
    """

    def __init__(self, url: str, model: str) -> None:
        self._where, self._key = masked(url), f"thalweg:joined:{model}"
        try:
            self._client = redis.Redis.from_url(
                url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS, retry=None
            )
        except (ValueError, redis.RedisError) as error:
            raise StoreError(f"store {self._where}: {error}") from error

    def load(self) -> bytes | None:
        """What was saved last; None: nothing. Raises StoreError."""
        try:
            found = self._client.get(self._key)
        except redis.RedisError as error:
            raise StoreError(f"store {self._where}: {error}") from error
        return found if isinstance(found, bytes) else None

    def save(self, content: bytes) -> None:
        """Keep it. Raises StoreError."""
        try:
            self._client.set(self._key, content)
        except redis.RedisError as error:
            raise StoreError(f"store {self._where}: {error}") from error

    def close(self) -> None:
        """Release resources."""
        self._client.close()
