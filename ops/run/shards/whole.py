"""A model that is learned whole, by the member of its group to which the first partition is assigned."""

from __future__ import annotations

from collections.abc import Collection

from thalweg.stream.log.groups import GroupListener

PARTITION = 0
"""With it goes the model: Kafka assigns partitions, each to one member, and every topic has this one."""


class FirstPartition:
    """Tells another listener of the first partition alone. The others mean nothing: the model is read from all."""

    def __init__(self, listener: GroupListener) -> None:
        self._listener = listener

    def assigned(self, numbers: Collection[int]) -> None:
        if PARTITION in numbers:
            self._listener.assigned([PARTITION])

    def revoked(self, numbers: Collection[int]) -> None:
        if PARTITION in numbers:
            self._listener.revoked([PARTITION])

    def lost(self, numbers: Collection[int]) -> None:
        if PARTITION in numbers:
            self._listener.lost([PARTITION])
