"""Cohorts: records that were appended at about the same time and become visible with the same version."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.publication.ring import RingReader, RingWriter

FILE = "freshness"
"""Name of the ring in a model's live folder."""
ENTRIES = 1024
_ENTRY = struct.Struct("<qdQQ")  # version, appended, records, records before them
_MOST = 16  # cohorts of one version
_WIDTH_SECONDS = 0.001  # records that were appended within this time are one cohort


class Cohort(NamedTuple):
    """Records that a version has learned first."""

    version: int
    appended: float
    """When the oldest of them was appended, Unix seconds."""
    records: int
    before: int
    """Records of all cohorts before this one."""


def cohorts(appended: NDArray[np.float64], records: NDArray[np.int64]) -> list[tuple[float, int]]:
    """Few groups of records, oldest first: when the oldest of a group was appended, and how many it has.

    Args:
        appended: Append times, Unix seconds, (N,).
        records: Records appended at each of them, all at least 1, (N,).
    """
    if not len(appended):
        return []
    order = np.argsort(appended, kind="stable")
    times, counts = appended[order], records[order]
    if times[-1] - times[0] <= _WIDTH_SECONDS:
        return [(float(times[0]), int(counts.sum()))]
    upto = np.cumsum(counts)
    groups = np.minimum((upto - counts) * _MOST // upto[-1], _MOST - 1)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return [(float(times[at]), int(sum_)) for at, sum_ in zip(starts, np.add.reduceat(counts, starts))]


def cohort_writer(folder: Path) -> RingWriter:
    """The learner's side. Raises OSError."""
    return RingWriter(folder / FILE, _ENTRY, ENTRIES)


def cohort_reader(folder: Path) -> RingReader:
    """A server's side."""
    return RingReader(folder / FILE, _ENTRY, ENTRIES)
