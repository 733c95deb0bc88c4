"""How rare the rarest classes are: what is learned of them takes so many times as many events."""

from __future__ import annotations

VARIED = 0.25
"""Variance of labels around the shares of classes below which some class is rare: that of one event in seven."""
MOST_RARE = 1000.0
"""More is not counted."""


def rarity_of(varied: float) -> float:
    """How many times as many events it takes to see as much of rare classes as of one that comes in one event of seven,
    and how many times smaller differences between squared errors are; 1 where no class is as rare.

    `varied`: 1 less the sum of the squared shares of classes.
    """
    return min(MOST_RARE, max(1.0, VARIED / max(varied, VARIED / MOST_RARE)))
