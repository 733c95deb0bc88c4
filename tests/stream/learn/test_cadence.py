"""When versions are published: after every block while that is cheap, else within a share of the time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.stream.learn.test_fold import block, fold
from tests.stream.learn.test_processor import event
from thalweg.stream.learn.cadence import PublishCadence
from thalweg.stream.learn.ports import Ports
from thalweg.stream.runtime import Runtime

SHARE, BLOCK_SECONDS = 0.05, 0.01


class Run:
    """Learns a block every 10 ms of its own clock; the disk and the publisher take what they are told to."""

    def __init__(self) -> None:
        self.now, self.disk, self.copying = 0.0, 0.001, 0.0001
        self.versions: list[tuple[int, float]] = []
        self._fold = fold()
        self._cadence = PublishCadence(Ports(publisher=self), self._flush, SHARE, Runtime(ticks=lambda: self.now))

    def blocks(self, count: int) -> None:
        for _ in range(count):
            self._fold.apply(block(self._fold, [event(self._fold.version)], self._fold.version + 1))
            self.now += BLOCK_SECONDS
            self._cadence.publish(self._fold, now=False)

    def longest_pause(self) -> float:
        times = [at for _, at in self.versions]
        return max(after - before for before, after in pairwise(times))

    def _flush(self) -> None:
        self.now += self.disk

    def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
        self.now += self.copying
        self.versions.append((version, self.now))

    def shown(self) -> int | None: ...
    def confirm(self, as_of: float) -> None: ...


@pytest.mark.parametrize("what", ["disk", "copying"])
def test_after_a_single_stall_the_next_version_is_published_at_once(what: str) -> None:
    run = Run()
    run.blocks(10)
    usual = getattr(run, what)
    setattr(run, what, 0.3)
    run.blocks(1)
    setattr(run, what, usual)
    run.blocks(10)

    assert [version for version, _ in run.versions] == list(range(1, 22))
    assert run.longest_pause() < 0.3 + 2 * BLOCK_SECONDS


@pytest.mark.parametrize(("what", "share"), [("disk", 0.25), ("copying", SHARE)])
def test_what_always_takes_long_keeps_to_its_share_of_the_time(what: str, share: float) -> None:
    run = Run()
    setattr(run, what, 0.1)
    run.blocks(1000)

    assert len(run.versions) * 0.1 / run.now == pytest.approx(share, rel=0.2)
