"""Events that wait for their label, in Redis, and how far they are joined: by any server, for any learner."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from thalweg.memory.exchange.pending import USUAL, Limits, Waiting, labels_of
from thalweg.memory.exchange.redis_client import RedisClient
from thalweg.memory.exchange.redis_names import RedisNames

_PATIENCE_SECONDS = 1.0


class RedisPending:
    """One hash per event, which expires, and per model a sorted set of ids by age, to find the oldest."""

    def __init__(
        self,
        url: str,
        limits: Limits = USUAL,
        clock: Callable[[], float] = time.time,
        names: RedisNames | None = None,
    ) -> None:
        self._limits, self._clock, self._names = limits, clock, names or RedisNames()
        self._client = RedisClient(url, _PATIENCE_SECONDS, _PATIENCE_SECONDS)

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        now, life, ages = self._clock(), math.ceil(self._limits.seconds), self._names.ages(model)
        self._names.must_be_ours(self._client, model)
        with self._client.calling(ages) as client:
            with client.pipeline(transaction=False) as pipeline:
                for id, moment, value in entries:
                    key = self._names.event(model, id)
                    pipeline.hsetnx(key, "value", value)
                    pipeline.hsetnx(key, "time", repr(moment))
                    pipeline.expire(key, life)
                pipeline.zadd(ages, {id: now for id, _, _ in entries}, nx=True)
                pipeline.zremrangebyscore(ages, 0, now - self._limits.seconds)
                pipeline.zcard(ages)
                pipeline.expire(ages, life)
                count = pipeline.execute()[-2]
            if count > self._limits.events:
                oldest: Any = client.zpopmin(ages, count - self._limits.events)
                with client.pipeline(transaction=False) as pipeline:  # in a cluster each is somewhere else
                    for id, _ in oldest:
                        pipeline.delete(self._names.event(model, id.decode()))
                    pipeline.execute()

    def find(self, model: str, ids: Sequence[str]) -> list[Waiting | None]:
        self._names.must_be_ours(self._client, model)
        with (
            self._client.calling(self._names.ages(model)) as client,
            client.pipeline(transaction=False) as pipeline,
        ):
            for id in ids:
                pipeline.hmget(self._names.event(model, id), "time", "value", "by")
            found = pipeline.execute()
        return [
            None if moment is None else Waiting(float(moment), value or b"", (by or b"").decode("utf-8", "replace"))
            for moment, value, by in found
        ]

    def settle(self, model: str, ids: Collection[str]) -> None:
        self._names.must_be_ours(self._client, model)
        with (
            self._client.calling(self._names.ages(model)) as client,
            client.pipeline(transaction=False) as pipeline,
        ):
            for id, label in labels_of(ids):
                # `eval` of a pipeline is not offered for a cluster
                pipeline.execute_command("EVAL", _SETTLE, 1, self._names.event(model, id), label)
            pipeline.execute()

    def check(self) -> None:
        with self._client.calling(self._names.ages("")) as client:
            client.ping()

    def close(self) -> None:
        self._client.close()


_SETTLE = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'value', '', 'by', ARGV[1]) end"
"""Only existing hashes: writing to one that has expired would keep it for ever."""


class RedisPlace:
    """How far one model's labels are joined; it does not expire.

    Args:
        url: The store.
        model: The model.
        names: The keys of the service.
    """

    def __init__(self, url: str, model: str, names: RedisNames | None = None) -> None:
        self._model, self._names = model, names or RedisNames()
        self._key = self._names.joined(model)
        self._client = RedisClient(url, _PATIENCE_SECONDS, _PATIENCE_SECONDS)

    def load(self) -> bytes | None:
        """What was saved last; None: nothing. Raises StoreError."""
        self._names.must_be_ours(self._client, self._model)
        with self._client.calling(self._key) as client:
            found = client.get(self._key)
        return found if isinstance(found, bytes) else None

    def save(self, content: bytes) -> None:
        """Keep it. Raises StoreError."""
        self._names.must_be_ours(self._client, self._model)
        with self._client.calling(self._key) as client:
            client.set(self._key, content)

    def close(self) -> None:
        """Release resources."""
        self._client.close()
