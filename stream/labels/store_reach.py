"""Whether a joiner can reach its store: told once in the log, and always in health and metrics."""

from __future__ import annotations

import structlog

from thalweg.memory.exchange.commands import StoreDamaged, StoreError
from thalweg.stream.health.registry import Health
from thalweg.stream.labels.join_observer import JoinObserver

log = structlog.get_logger(__name__)


class StoreReach:
    """Used on the joiner's thread.

    Args:
        model: The model's name.
        health: Whether the store can be reached.
        observer: Notified of every attempt.
    """

    def __init__(self, model: str, health: Health, observer: JoinObserver) -> None:
        self._model, self._health, self._observer = model, health, observer
        self._reached = True

    def reached(self) -> None:
        """It has answered."""
        self._health.running()
        if not self._reached:
            self._reached = True
            log.info("the store is available again: labels are joined", model=self._model)
        self._observer.store_reached(True)

    def failed(self, error: StoreError) -> None:
        """It has refused."""
        tell = self._health.failed if isinstance(error, StoreDamaged) else self._health.waiting
        tell(f"the store is out of reach: {error}")
        if self._reached:
            self._reached = False
            log.error("the store is unavailable: labels wait", model=self._model, problem=str(error))
        self._observer.store_reached(False)
