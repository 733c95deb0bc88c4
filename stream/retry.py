"""Retrying what the disk, the log or the store refuses, until it succeeds or a stop is requested."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.kept_folders import is_away
from thalweg.stream.health.registry import Health
from thalweg.stream.log.log import LogError, LogReplaced, PermanentLogError
from thalweg.stream.runtime import Signal

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 5.0


class Stopped(Exception):
    """A stop was requested while waiting for a disk, the log or a store; what was retried has had no effect."""


class Retry:
    """Retries for one part of a model, on that part's thread; its health tells what it waits for.

    Args:
        model: The model's name.
        health: The part's health.
        stopping: Ends every wait when set.
        store_failed: Told of each refusal of the store; None: the part uses no store.
    """

    def __init__(
        self,
        model: str,
        health: Health,
        stopping: Signal,
        store_failed: Callable[[StoreError], None] | None = None,
    ) -> None:
        self._model, self._health, self._stopping, self._store_failed = model, health, stopping, store_failed
        self._away = False

    def __call__(self, what: str, action: Callable[[], Answer]) -> Answer:
        """Run the action until it succeeds.

        Args:
            what: What it waits for, in logs and health.
            action: Raises OSError, LogError or StoreError while it is to be tried again.

        Raises:
            Stopped: A stop was requested first.
            LogReplaced: No waiting helps.
        """
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                answer = action()
                self._away = False
                return answer
            except LogReplaced:
                raise
            except StoreError as error:
                if self._store_failed is None:
                    raise
                self._store_failed(error)
                self._health.waiting(f"the store is out of reach: {error}")
            except (OSError, LogError) as error:
                self._refused(what, error)
            if self._stopping.wait(wait):
                raise Stopped
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _refused(self, what: str, error: Exception) -> None:
        permanent = isinstance(error, PermanentLogError)
        told = "refused, and waiting does not help" if permanent else "refused: retrying"
        if not is_away(error) or not self._away:  # for as long as it lasts, once
            log.error(told, what=what, model=self._model, problem=str(error))
        self._away = is_away(error)
        (self._health.failed if permanent else self._health.waiting)(f"waits for the {what}: {error}")
