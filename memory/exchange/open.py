"""What is behind a store's URL."""

from __future__ import annotations

from thalweg.memory.exchange.commands import MemoryStore, SqliteStore, Store, StoreError
from thalweg.memory.exchange.pending import USUAL, Limits, MemoryPending, Pending, SqlitePending


def open_store(url: str) -> Store:
    """The store behind a URL: `memory:`, `sqlite:PATH` or `redis://HOST:PORT/DB`.

    Raises:
        StoreError: The URL has another form, or the store cannot be opened.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite" and rest:
        return SqliteStore(rest)
    if kind in ("redis", "rediss"):
        from thalweg.memory.exchange.redis_commands import RedisStore

        return RedisStore(url)
    raise StoreError(f"store url {url!r}: expected memory:, sqlite:PATH or redis://HOST:PORT/DB")


def open_pending(url: str, limits: Limits = USUAL) -> Pending:
    """Where events wait, behind the store's URL: `memory:`, `sqlite:PATH` or `redis://HOST:PORT/DB`.

    Raises:
        StoreError: The URL has another form, or the store cannot be opened.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return MemoryPending(limits)
    if kind == "sqlite" and rest:
        return SqlitePending(rest, limits)
    if kind in ("redis", "rediss"):
        from thalweg.memory.exchange.redis_pending import RedisPending

        return RedisPending(url, limits)
    raise StoreError(f"store url {url!r}: expected memory:, sqlite:PATH or redis://HOST:PORT/DB")
