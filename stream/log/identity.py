"""Whether a topic is still the one that was read: one that was deleted and created again counts its offsets anew.

A position in the old topic means nothing in the new one: reading on from there would skip its first records silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thalweg.stream.log.log import Log


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
