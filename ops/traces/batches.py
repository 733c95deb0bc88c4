"""Queue and batches of the export, as `OTEL_BSP_…` say: a wrong value is told, and the default is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

_MOST = 2**31 - 1
QUEUE, BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
DELAY, TIMEOUT = "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT"


class Batches(NamedTuple):
    """Named as the parameters of the SDK's processor."""

    max_queue_size: int
    """Spans that wait at most."""
    max_export_batch_size: int
    """Spans of one export at most: no more than wait."""
    schedule_delay_millis: int
    """Between two exports."""
    export_timeout_millis: int
    """Of one export."""


def batches_of(environment: Mapping[str, str]) -> Batches:
    """What the environment variables say; never fails."""
    queue = _whole(environment, QUEUE, 2048, _MOST)
    batch = _whole(environment, BATCH, min(512, queue), queue)
    return Batches(queue, batch, _whole(environment, DELAY, 5000, _MOST), _whole(environment, TIMEOUT, 30_000, _MOST))


def _whole(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    given = environment.get(name, "").strip()
    if not given:
        return default
    try:
        number = int(given)
    except ValueError:
        number = 0
    if not 1 <= number <= most:
        log.warning(f"{name}: expected a whole number from 1 to {most}, got {given!r:.60}; {default} is used instead")
        return default
    return number
