"""A standby takes part in a group while learners are missing, and hands its partitions back once they are there."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.stream.log.partitions import PartitionedLog
from thalweg.stream.log.log import LogError
from thalweg.stream.standby import member
from thalweg.stream.standby.member import ENOUGH_SECONDS, LOOK_SECONDS, START_SECONDS, StandbyMember


class Told:
    def __init__(self) -> None:
        self.owned: set[int] = set()
        self.revocations: list[list[int]] = []

    def assigned(self, numbers: Collection[int]) -> None:
        self.owned |= set(numbers)

    def revoked(self, numbers: Collection[int]) -> None:
        self.owned -= set(numbers)
        self.revocations.append(sorted(numbers))

    def lost(self, numbers: Collection[int]) -> None:
        self.owned -= set(numbers)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(member.time, "sleep", lambda seconds: None)
    return Clock()


def standby(log: PartitionedLog, told: Told, clock: Clock, least: int = 1) -> StandbyMember:
    return StandbyMember(
        "m",
        lambda listener: log.member("t", "g", "", listener),
        lambda: len(log.named_members("g")),
        least,
        told,
        clock,
    )


def test_it_owns_nothing_while_all_learners_live_and_the_dead_ones_shards_afterwards(clock: Clock) -> None:
    log, told = PartitionedLog(4), Told()
    learners = {name: (Told(), log.member("t", "g", name, Told())) for name in ("a", "b")}
    one = standby(log, told, clock, least=2)
    for _ in range(20):
        clock.now += 10
        one.poll(0.1)
    assert not one.joined
    assert set(log.groups["g"].members) == {"a", "b"}

    log.groups["g"].expel("b")
    clock.now += LOOK_SECONDS
    one.poll(0.1)

    assert one.joined
    for _ in range(3):
        for _, learner in learners.values():
            learner.poll(0.0)
        clock.now += LOOK_SECONDS
        one.poll(0.1)
    assert len(told.owned) == 2

    back = log.member("t", "g", "b", Told())
    back.poll(0.0)
    clock.now += LOOK_SECONDS
    one.poll(0.1)
    assert one.joined  # it may have come and gone
    clock.now += ENOUGH_SECONDS + LOOK_SECONDS
    one.poll(0.1)
    assert not one.joined
    assert told.owned == set()
    assert set(log.groups["g"].members) == {"a", "b"}


def test_when_everything_starts_at_once_it_leaves_the_shards_to_the_learners(clock: Clock) -> None:
    log, told = PartitionedLog(2), Told()
    one = standby(log, told, clock)
    clock.now += START_SECONDS / 2
    one.poll(0.1)
    assert not one.joined

    clock.now += START_SECONDS
    one.poll(0.1)

    assert one.joined


def test_two_standbys_do_not_count_each_other(clock: Clock) -> None:
    log = PartitionedLog(4)
    log.member("t", "g", "a", Told())
    pair = [standby(log, Told(), clock), standby(log, Told(), clock)]
    for one in pair:
        clock.now += LOOK_SECONDS
        one.poll(0.1)
    log.groups["g"].expel("a")
    for _ in range(20):
        for one in pair:
            clock.now += ENOUGH_SECONDS
            one.poll(0.1)

    assert all(one.joined for one in pair)


def test_a_log_that_does_not_answer_changes_nothing(clock: Clock) -> None:
    def away() -> int:
        raise LogError("away")

    one = StandbyMember("m", lambda listener: pytest.fail("joined"), away, 1, Told(), clock)
    clock.now += 2 * START_SECONDS
    with pytest.raises(LogError):
        one.poll(0.1)
    assert not one.joined


def test_a_member_that_cannot_count_the_learners_still_hears_that_it_has_lost_its_partitions(clock: Clock) -> None:
    log, told, away = PartitionedLog(2), Told(), False

    def learners() -> int:
        if away:
            raise LogError("away")
        return len(log.named_members("g"))

    one = StandbyMember("m", lambda listener: log.member("t", "g", "", listener), learners, 1, told, clock)
    clock.now += 2 * START_SECONDS
    one.poll(0.1)
    assert told.owned == {0, 1}
    away = True
    (inner,) = log.groups["g"].members.values()
    inner.out = True
    inner.hears.set()
    for _ in range(3):  # each time: else it would look well in between
        clock.now += 10 * LOOK_SECONDS
        with pytest.raises(LogError, match="away"):
            one.poll(0.1)
    assert told.owned == set()
