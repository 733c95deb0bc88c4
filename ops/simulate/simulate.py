"""Runs simulations, each in a folder of its own in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from thalweg.ops.simulate.world import KINDS, Verdict, World

MEMORY = Path("/dev/shm")
USUAL_STEPS = 2000


def simulate(seed: int, steps: int = USUAL_STEPS, kinds: Sequence[str] = KINDS) -> Verdict:
    """Run one simulation.

    Args:
        seed: Determines everything that happens.
        steps: Turns taken before the faults end.
        kinds: The kinds of faults that happen, of `KINDS`.

    Returns:
        What was found; the same for the same arguments.
    """
    base = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="thalweg-simulation-", dir=base) as folder:
        return World(seed, Path(folder), kinds).run(steps)
