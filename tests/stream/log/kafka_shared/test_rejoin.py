"""When a member that was put out of its group joins it again, and when it gives up."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from thalweg.proto.records import Position
from thalweg.stream.log.groups import GroupListener
from thalweg.stream.log.kafka_shared.members import Fenced, fenced
from thalweg.stream.log.kafka_shared.rejoin import AGAIN_SECONDS, RejoiningMember
from thalweg.stream.log.log import LogError


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[str, list[int]]] = []

    def assigned(self, numbers: Collection[int]) -> None:
        self.told.append(("assigned", list(numbers)))

    def revoked(self, numbers: Collection[int]) -> None:
        self.told.append(("revoked", list(numbers)))

    def lost(self, numbers: Collection[int]) -> None:
        self.told.append(("lost", list(numbers)))


class Group:
    """A group of one member, to which things happen."""

    def __init__(self) -> None:
        self.happens: Exception | None = None
        self.joined = self.left = 0
        self.now = 0.0

    def member(self, listener: GroupListener) -> Member:
        self.joined += 1
        return Member(self, listener)


class Member:
    def __init__(self, group: Group, listener: GroupListener) -> None:
        self.group, self.listener, self.has = group, listener, False

    def poll(self, timeout_seconds: float) -> None:
        if self.group.happens is not None:
            raise self.group.happens
        if not self.has:
            self.has = True
            self.listener.assigned([0, 1, 2])
            self.listener.revoked([1])

    def commit(self, position: Position, note: str = "") -> None: ...

    def close(self) -> None:
        self.group.left += 1


@pytest.fixture
def group() -> Group:
    return Group()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def member(group: Group, heard: Heard) -> RejoiningMember:
    return RejoiningMember(group.member, heard, lambda: group.now)


def put_out(group: Group, member: RejoiningMember) -> None:
    group.happens = fenced("g", "host")
    try:
        member.poll(0)
    finally:
        group.happens = None


def test_what_it_has_is_lost_before_it_joins_again(group: Group, heard: Heard, member: RejoiningMember) -> None:
    member.poll(0)
    put_out(group, member)
    assert heard.told == [("assigned", [0, 1, 2]), ("revoked", [1]), ("lost", [0, 2])]
    assert (group.joined, group.left) == (2, 1)
    member.poll(0)
    assert heard.told[3:] == [("assigned", [0, 1, 2]), ("revoked", [1])]


def test_soon_after_it_gives_up(group: Group, member: RejoiningMember) -> None:
    put_out(group, member)
    group.now = AGAIN_SECONDS - 1
    with pytest.raises(Fenced):
        put_out(group, member)
    with pytest.raises(Fenced):  # for good, whoever polls on
        put_out(group, member)


def test_much_later_it_joins_again(group: Group, member: RejoiningMember) -> None:
    for _ in range(5):
        put_out(group, member)
        group.now += AGAIN_SECONDS + 1
    assert group.joined == 6


def test_after_each_outage_it_joins_again(group: Group, member: RejoiningMember) -> None:
    """Of a broker that goes and comes, too."""
    for _ in range(5):
        group.happens = LogError("the cluster is out of reach")
        with pytest.raises(LogError, match="out of reach"):
            member.poll(0)
        put_out(group, member)
        group.now += 10
    assert group.joined == 6
