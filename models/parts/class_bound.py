"""The bound of a learner's classes: how many, and how many bytes of names. What is beyond is counted, and said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from thalweg.models.contract.gauges import GaugeSpec
from thalweg.proto.bounds.limits import MAX_CLASS_NAMES_BYTES, MAX_LABEL_BYTES

log = structlog.get_logger(__name__)

EXCESS_EVENTS = GaugeSpec(
    name="excess_class_events",
    help="Labelled events skipped because the learner has no room for another class",
    kind="counter",
)
_SURELY_ROOM = MAX_CLASS_NAMES_BYTES // MAX_LABEL_BYTES  # of names at their longest


def add_classes(table: dict[str, int], names: Iterable[str], most: int) -> None:
    """Number new classes in `table`, in this order, up to `most` of them and `MAX_CLASS_NAMES_BYTES` of names.

    The names stand in the header of every file of the state, which has a limit of its own.
    """
    size: int | None = None
    for name in names:
        if name in table or len(table) >= most:
            continue
        if len(table) >= _SURELY_ROOM:
            size = sum(map(_bytes, table)) if size is None else size
            if size + _bytes(name) > MAX_CLASS_NAMES_BYTES:
                continue
            size += _bytes(name)
        table[name] = len(table)


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


class ExcessEvents:
    """Counts the events of classes beyond the bound, and warns at the first one. Part of the state once there is one.

    Args:
        parameter: The parameter that bounds the classes, for the warning.
        most: Its value.
    """

    def __init__(self, parameter: str, most: int) -> None:
        self._parameter, self._most = parameter, most
        self.events = 0

    def add(self, events: int, example: str = "") -> None:
        """This many more; `example` is the class of one of them."""
        if events and not self.events:
            log.warning(
                f"no room for another class, its events are skipped: raise {self._parameter} or shorten the names",
                classes=self._most,
                first=f"{example:.80}",
            )
        self.events += events

    def meta(self) -> dict[str, Any]:
        """For the state: empty as long as there was none."""
        return {"excess_events": self.events} if self.events else {}

    def restore(self, meta: Mapping[str, Any]) -> None:
        """Restore from the `meta()` in a state."""
        self.events = meta.get("excess_events", 0)
