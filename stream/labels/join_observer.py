"""The notifications that a joiner sends to observers, such as `ops.telemetry.learner_metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from thalweg.proto.records import Partition
from thalweg.stream.log.log import Gap


class JoinObserver(Protocol):
    """Receives what happens to labels, on the joiner's thread."""

    def labels_joined(self, delays: Sequence[float]) -> None:
        """These labels arrived this many seconds after their events."""

    def labels_unmatched(self, labels: int) -> None:
        """This many labels expired without a known event."""

    def labels_duplicated(self, labels: int) -> None:
        """This many labels were duplicates of joined ones."""

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        """This many records, by reason, were sent to the dead-letter topic."""

    def tombstones(self, records: int) -> None:
        """This many records have no value: a label was deleted, which nobody can unlearn."""

    def store_reached(self, reached: bool) -> None:
        """Whether the store of pending events is available."""


@runtime_checkable
class JoinReadingObserver(JoinObserver, Protocol):
    """An observer that also follows what a joiner reads."""

    def labels_lag(self, lag: Mapping[Partition, int]) -> None:
        """Records of the joiner's topics not yet read, by partition; about once a second."""

    def lost(self, gap: Gap) -> None:
        """Records of the joiner's topics were not read."""


class NoJoinObserver:
    """Ignores everything; the base for observers that need only some of it."""

    def labels_joined(self, delays: Sequence[float]) -> None: ...
    def labels_unmatched(self, labels: int) -> None: ...
    def labels_duplicated(self, labels: int) -> None: ...
    def dead_lettered(self, reasons: Mapping[str, int]) -> None: ...
    def tombstones(self, records: int) -> None: ...
    def store_reached(self, reached: bool) -> None: ...
    def labels_lag(self, lag: Mapping[Partition, int]) -> None: ...
    def lost(self, gap: Gap) -> None: ...
