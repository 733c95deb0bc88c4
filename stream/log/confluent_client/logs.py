"""What librdkafka logs, in our log: bounded, and with the one line that tells of a topic that was created again."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

DEBUG = "topic"
"""The context of `debug` in which librdkafka tells that a topic's id has changed; it has no event for it."""
_CHANGED = re.compile(r"Topic .* changed id from (\S+) to \S+$")
_NO_ID = "A" * 22  # 16 bytes of zeros
_AGAIN_SECONDS = 60.0
_FACILITIES = 64


class ClientLog:
    """The `logger` of a client: warnings and worse, each facility once a minute.

    Args:
        client: Its name in the log.
        failed: Called with what is logged of a connection that failed.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        client: str,
        failed: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._failed, self._clock = client, failed, clock
        self._told: dict[str, float] = {}
        self.topic_replaced = False
        """A topic that was deleted and created again was noticed; the reader of this sets it back."""

    def log(self, level: int, text: str, *arguments: object) -> None:
        """A line of the client; see `logging.Logger.log`."""
        line = text % arguments if arguments else text
        if level <= logging.DEBUG:
            found = _CHANGED.search(line)
            self.topic_replaced |= found is not None and found[1] != _NO_ID
            return
        facility, now = line.split(" ", 1)[0], self._clock()
        if facility == "FAIL":  # who waits for the broker tells why
            self._failed(line)
            return
        if level < logging.WARNING or line.endswith("retrying"):
            return
        if now - self._told.get(facility, -_AGAIN_SECONDS) < _AGAIN_SECONDS or len(self._told) >= _FACILITIES:
            return
        self._told[facility] = now
        log.warning("librdkafka", client=self._client, message=line)
