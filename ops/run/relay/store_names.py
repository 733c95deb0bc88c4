"""The names that this service has in a Redis which others may use, too."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.open import is_redis
from thalweg.memory.exchange.redis_names import OtherService, RedisNames, ServiceLog
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.stream.log.log import Log, LogError

_LOG_SECONDS = 3.0  # of a start: a log that is away is asked on
_REDIS_SECONDS = 2.0
_AGAIN_SECONDS = 1.0


class LogId:
    """Asks a log for its id in the background, until it is known. Thread-safe.

    Args:
        source: The log.
        topic: Any of its topics.
        embedded: Whether it is a file, whose topics have the identity of the file.
    """

    def __init__(self, source: Log, topic: str, *, embedded: bool) -> None:
        self._source, self._topic, self._embedded = source, topic, embedded
        self._found: str | None = None
        self._known, self._stopping = threading.Event(), threading.Event()
        threading.Thread(target=self._ask, name="log-id", daemon=True).start()

    def __call__(self) -> str | None:
        """The id, None while it is not known or where the log has none. Does not block."""
        return self._found

    def wait(self, seconds: float) -> None:
        """Wait until it is known, at most for so long."""
        self._known.wait(seconds)

    def close(self) -> None:
        """Ask no longer."""
        self._stopping.set()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            try:
                self._found = self._source.identity(self._topic) if self._embedded else self._source.cluster()
            except LogError:
                self._stopping.wait(_AGAIN_SECONDS)
            else:
                self._known.set()
                return


@contextmanager
def names_in_store(config: Config, source: Log) -> Iterator[RedisNames | None]:
    """The names of a service in its Redis; None: its store is none.

    Raises ConfigurationError: Another service has a model of this name under this prefix. While log or Redis are away
    that is not known: then it is found out, and told, with the first use.
    """
    if not is_redis(config.store.url):
        yield None
        return
    kind, _, path = config.log.url.partition(":")
    embedded = kind == "sqlite"
    with closing(LogId(source, config.model[0].topic, embedded=embedded)) as id:
        names = RedisNames(
            config.store.prefix,
            ServiceLog(
                id=id,
                topics={model.name: model.topic for model in config.model},
                place=f"{socket.gethostname()}:{path}" if embedded else "",
                moved_from=config.log.moved_from,
                keep_seconds=math.ceil(max(model.label_seconds for model in config.model)),
            ),
        )
        id.wait(_LOG_SECONDS)
        _check(config, names)
        yield names


def _check(config: Config, names: RedisNames) -> None:
    from thalweg.memory.exchange.redis_client import RedisClient  # takes a while to import

    refused = []
    try:
        with closing(RedisClient(config.store.url, _REDIS_SECONDS, _REDIS_SECONDS)) as client:
            for model in config.model:
                try:
                    names.must_be_ours(client, model.name)
                except OtherService as error:
                    refused.append(f"store.url: {error}")
    except StoreError:
        pass  # whoever needs it says so
    if refused:
        raise ConfigurationError(refused)
