"""Clients of the Redis behind a URL: a server, the one that Sentinels name, or a cluster; and what its errors mean."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.exceptions import (
    CrossSlotTransactionError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisClusterException,
)
from redis.sentinel import Sentinel

from thalweg.memory.exchange.commands import StoreError
from thalweg.proto.bounds.host_port import host_port

FORMS = (
    "redis://HOST:PORT/DB, rediss://… (TLS), unix://PATH, redis+sentinel://HOST:PORT[,HOST:PORT]/NAME[/DB] or "
    "redis+cluster://HOST:PORT[,HOST:PORT]"
)
_SENTINEL_PORT, _PORT = 26379, 6379
_node_of_cluster: Any = ClusterNode  # these have no types
_sentinels: Any = Sentinel
_parsed: Any = parse_url
_OF_PIPELINE = re.compile(r"^Command # \d+ .* of pipeline caused error: ", re.DOTALL)
"""It tells what was to be written, which may be of persons."""
REFUSAL: type[Exception] = redis.ResponseError
"""What the library raises where a server answers with an error."""
_OF_REDIS = (redis.RedisError, RedisClusterException, OSError)


class _NotOne(ValueError):
    """A URL has another form; the message tells nothing secret."""


class WrongType(StoreError):
    """A key holds something that the service has not written."""


class NotPermitted(StoreError):
    """The user of the URL may not do it; the message says what it needs."""


class RedisClient:
    """A client that connects when it is used first, and again after any failure. Thread-safe.

    Args:
        url: Of the Redis, in one of FORMS.
        timeout_seconds: For an answer.
        connect_seconds: For a connection.
        retried: Whether a call that failed by its connection is tried again.

    Raises:
        StoreError: The URL has another form.
    """

    def __init__(self, url: str, timeout_seconds: float, connect_seconds: float, *, retried: bool = False) -> None:
        self.place = masked(url)
        options: dict[str, Any] = {"socket_timeout": timeout_seconds, "socket_connect_timeout": connect_seconds}
        options["protocol"] = 2  # that of all servers and proxies: nothing of the next one is used
        if not retried:
            options["retry"] = None
        try:
            self._open = _opener(url, options)
        except _NotOne as error:
            raise StoreError(f"store {self.place}: {error}") from error
        except (ValueError, *_OF_REDIS):  # whose texts have parts of a password
            odd = "characters such as / and @ in a password are written %2F and %40"
            raise StoreError(f"store {self.place}: expected {FORMS}; {odd}") from None
        self._opening = threading.Lock()
        self._client: Any = None

    @contextmanager
    def calling(self, key: str) -> Iterator[Any]:
        """The client of the library, for a call about a key or a channel.

        Raises:
            StoreError: What the call inside failed with, which names the Redis.
            WrongType: The key holds something else.
        """
        try:
            yield self._connected()
        except _OF_REDIS as error:
            if isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE"):
                raise WrongType(f"store {self.place}: {key}: {error}") from error
            if _is_refused(error):
                raise NotPermitted(f"store {self.place}: {_told(error, key)}") from error
            if isinstance(error, ReadOnlyError):
                self._look_anew()
            raise StoreError(f"store {self.place}: {_told(error, key)}") from error

    def close(self) -> None:
        """Release resources; may be called twice."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> Any:
        with self._opening:  # a cluster is asked for its nodes
            if self._client is None:
                self._client = self._open()
            return self._client

    def _look_anew(self) -> None:
        """Connect anew: after a failover the name of the Redis leads to another server, the connection to a replica."""
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None:
            pool.disconnect(inuse_connections=False)


def masked(url: str) -> str:
    """The URL without user and password, which may be before the host or in the query."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def check_redis_url(url: str) -> None:
    """Raise StoreError for a URL of another form; nothing is connected."""
    RedisClient(url, 1.0, 1.0)


def _opener(url: str, options: dict[str, Any]) -> Callable[[], Any]:
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if base != "unix" and ("@" in rest.partition("?")[0].partition("/")[2] or "#" in rest):
        raise _NotOne("expected no /, @ or # in user and password: they are written %2F, %40 and %23")
    if base not in ("redis", "rediss") or not kind:
        if base != "unix":
            _check_server(rest.partition("?")[0].rpartition("@")[2])
        client = redis.Redis.from_url(url, **options)
        return lambda: client
    authority, _, query = rest.partition("?")
    user, at, places = authority.rpartition("@")
    listed, _, path = places.partition("/")
    name, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    given = dict(_parsed(f"{base}://{user}{at}h/{database}?{query}"))
    for key in ("host", "port", "connection_class"):
        given.pop(key, None)
    if base == "rediss":
        given["ssl"] = True
    nodes = [_node(one, _SENTINEL_PORT if kind == "sentinel" else _PORT) for one in listed.split(",")]
    if kind == "cluster":
        if given.pop("db", 0):
            raise _NotOne(f"a cluster has database 0 alone, got {database!r}: choose another store.prefix instead")
        return lambda: RedisCluster(startup_nodes=[_node_of_cluster(*one) for one in nodes], **options, **given)
    if kind != "sentinel" or not name:
        raise _NotOne(f"expected {FORMS}")
    own = {key.removeprefix("sentinel_"): given.pop(key) for key in list(given) if key.startswith("sentinel_")}
    of_sentinels = {**options, **({"ssl": True} if base == "rediss" else {}), **own}
    client = _sentinels(nodes, sentinel_kwargs=of_sentinels, **options, **given).master_for(name)
    return lambda: client


def _node(text: str, port: int) -> tuple[str, int]:
    try:
        return host_port(text, port)
    except ValueError as error:
        raise _NotOne(str(error)) from error


def _check_server(place: str) -> None:
    """The host, port and database of one server: of a database that is no number the library would take the first."""
    server, _, database = place.partition("/")
    _node(server, _PORT)
    if database and not (database.isascii() and database.isdigit()):
        raise _NotOne(f"expected the number of a database, got {database!r}")


def _is_refused(error: Exception) -> bool:
    return isinstance(error, NoPermissionError) or "user executing the script can't" in str(error)


def _told(error: Exception, key: str) -> str:
    """What an error means, and what to do about it."""
    text = _OF_PIPELINE.sub("", str(error)) or type(error).__name__
    if _is_refused(error):
        return (
            f"{text} ({key!r}): the user of store.url needs the keys ~PREFIX:* and the channel &PREFIX:versions, "
            "PREFIX being store.prefix (docs/security.md)"
        )
    if isinstance(error, (MovedError, CrossSlotTransactionError)) or "CROSSSLOT" in text:
        return f"{text}: it is a node of a cluster; expected redis+cluster://HOST:PORT as store.url"
    if isinstance(error, ReadOnlyError):
        return f"{text}: it is a replica now, and is looked up anew"
    if isinstance(error, redis.ResponseError) and "unknown" in text.lower() and "command" in text:
        return (
            f"{text}: a Redis without that command (rename-command, or a service that leaves it out) is not enough; if "
            "it is a Sentinel, expected redis+sentinel://HOST:PORT/NAME as store.url"
        )
    return text
