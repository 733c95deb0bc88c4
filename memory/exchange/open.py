"""Opens the implementation behind a store's URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thalweg.memory.exchange.commands import CommandQueue, InMemoryCommandQueue, SqliteCommandQueue, StoreError
from thalweg.memory.exchange.pending import USUAL, InMemoryPending, Limits, Pending, SqlitePending

if TYPE_CHECKING:
    from thalweg.memory.exchange.redis_pending import RedisPlace


def open_commands(url: str) -> CommandQueue:
    """The command queue behind a URL: `memory:`, `sqlite:PATH` or `redis://HOST:PORT/DB`.

    Raises:
        StoreError: The URL has another form, or the store cannot be opened.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return InMemoryCommandQueue()
    if kind == "sqlite" and rest:
        return SqliteCommandQueue(rest)
    if kind in ("redis", "rediss"):
        from thalweg.memory.exchange.redis_commands import RedisCommandQueue

        return RedisCommandQueue(url)
    raise StoreError(f"store url {url!r}: expected memory:, sqlite:PATH or redis://HOST:PORT/DB")


def open_shared_place(url: str, model: str) -> RedisPlace | None:
    """Where the joiners of a model on several hosts keep their position; None: the store is this host's alone.

    Raises:
        StoreError: It cannot be opened.
    """
    if url.partition(":")[0] not in ("redis", "rediss"):
        return None
    from thalweg.memory.exchange.redis_pending import RedisPlace

    return RedisPlace(url, model)


def open_pending(url: str, limits: Limits = USUAL) -> Pending:
    """The store of pending events behind a URL: `memory:`, `sqlite:PATH` or `redis://HOST:PORT/DB`.

    Raises:
        StoreError: The URL has another form, or the store cannot be opened.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return InMemoryPending(limits)
    if kind == "sqlite" and rest:
        return SqlitePending(rest, limits)
    if kind in ("redis", "rediss"):
        from thalweg.memory.exchange.redis_pending import RedisPending

        return RedisPending(url, limits)
    raise StoreError(f"store url {url!r}: expected memory:, sqlite:PATH or redis://HOST:PORT/DB")
