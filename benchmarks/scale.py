"""How much of a benchmark runs: all of it, less of it, or just enough to see that it still does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

T = TypeVar("T")


class Scale(Enum):
    """`python -m benchmarks [--quick | --tiny] NAME`."""

    FULL = "full"
    """The figures of docs/benchmarks.md."""

    QUICK = "quick"
    """Fewer rounds and rows; the figures are noisier, and some are left out."""

    TINY = "tiny"
    """Every line of code, a second or two of work; the figures mean nothing."""

    @classmethod
    def asked(cls, arguments: Sequence[str] = sys.argv) -> Scale:
        """That of the option among a command's arguments."""
        return next((scale for scale in cls if f"--{scale.value}" in arguments), cls.FULL)

    def of(self, full: T, quick: T, tiny: T) -> T:
        """The one of three values that is meant for this scale."""
        return {Scale.FULL: full, Scale.QUICK: quick, Scale.TINY: tiny}[self]
