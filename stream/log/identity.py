"""Whether a topic is still the one that was read.

One that was deleted and created again counts its offsets anew: a position in the old topic means nothing in the new
one, and reading on from there would skip its first records silently. So does one of which an older copy was put back:
from where the copy ends, its offsets are those of other records.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from thalweg.proto.records import Partition
from thalweg.stream.log.log import Epochs, Log, PartlyAway


def identities(log: Log, topics: Sequence[str]) -> dict[str, str]:
    """The identity of each of these topics that has one. Raises LogError while the log is unavailable."""
    return {topic: found for topic in topics if (found := log.identity(topic)) is not None}


def replaced(read: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """The topics that were created again since they were read; a topic without a known identity is not among them.

    Args:
        read: Identity by topic when the position was saved.
        present: Identity by topic now.
    """
    return sorted(topic for topic, identity in read.items() if present.get(topic, identity) != identity)


def partitions_of(log: Log, topic: str) -> Collection[Partition]:
    """The partitions of a topic, those that are out of reach, too; none if there is no topic. Raises LogError."""
    try:
        return log.bounds(topic).keys()
    except PartlyAway as error:
        return error.partitions


def diverged(read: Epochs, present: Epochs, following: int, last: int) -> int | None:
    """The first offset at which a partition no longer has what was read of it; None: it has all of it, or nobody knows.

    Args:
        read: The epochs when the position was saved.
        present: The epochs now.
        following: The offset that its next record gets now.
        last: The last offset that was read.
    """
    then, now = ({number: (name, first) for number, name, first in epochs} for epochs in (read, present))
    common = max((number for number in then.keys() & now.keys() if then[number] == now[number]), default=None)
    if common is None:
        return None
    _, end_then = then.get(common + 1, ("", last + 1))
    _, end_now = now.get(common + 1, ("", following))
    first = min(end_then, end_now)
    return first if first <= last else None
