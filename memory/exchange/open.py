"""Opens the implementation behind a store's URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thalweg.memory.exchange.commands import CommandQueue, InMemoryCommandQueue, SqliteCommandQueue, StoreError
from thalweg.memory.exchange.pending import USUAL, InMemoryPending, Limits, Pending, SqlitePending
from thalweg.memory.exchange.redis_names import RedisNames

SCHEMES_OF_REDIS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

if TYPE_CHECKING:
    from thalweg.memory.exchange.redis_pending import RedisPlace


def is_redis(url: str) -> bool:
    """Whether the store of a URL is a Redis."""
    return url.partition(":")[0] in SCHEMES_OF_REDIS


def open_commands(url: str, names: RedisNames | None = None) -> CommandQueue:
    """The command queue behind a URL: `memory:`, `sqlite:PATH` or that of a Redis, where it has the keys of `names`.

    Raises:
        StoreError: The URL has another form, or the store cannot be opened.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return InMemoryCommandQueue()
    if kind == "sqlite" and rest:
        return SqliteCommandQueue(rest)
    if is_redis(url):
        from thalweg.memory.exchange.redis_commands import RedisCommandQueue

        return RedisCommandQueue(url, names)
    raise StoreError(f"store url {url!r}: expected memory:, sqlite:PATH or redis://HOST:PORT/DB")


def open_shared_place(url: str, model: str, names: RedisNames | None = None) -> RedisPlace | None:
    """Where the joiners of a model on several hosts keep their position; None: the store is this host's alone.

    Raises:
        StoreError: It cannot be opened.
    """
    if not is_redis(url):
        return None
    from thalweg.memory.exchange.redis_pending import RedisPlace

    return RedisPlace(url, model, names)


def open_pending(url: str, limits: Limits = USUAL, names: RedisNames | None = None) -> Pending:
    """The store of pending events behind a URL, as `open_commands`.

    Raises:
        StoreError: The URL has another form, or the store cannot be opened.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return InMemoryPending(limits)
    if kind == "sqlite" and rest:
        return SqlitePending(rest, limits)
    if is_redis(url):
        from thalweg.memory.exchange.redis_pending import RedisPending

        return RedisPending(url, limits, names=names)
    raise StoreError(f"store url {url!r}: expected memory:, sqlite:PATH or redis://HOST:PORT/DB")
