"""What cannot be read: fetched anew, waited for, skipped in the end, and the rest of a damaged stretch at once."""

from __future__ import annotations

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_shared.consumer import UnreadableBatch
from thalweg.stream.log.kafka_shared.damage import Damage

PART = Partition("t", 0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def bad(first: int, last: int | None) -> UnreadableBatch:
    return UnreadableBatch(PART, first, last, "gzip", "its checksum is wrong")


def test_a_batch_is_fetched_anew_and_skipped_when_patience_ends() -> None:
    clock = Clock()
    damage = Damage(10.0, clock)

    assert damage.met(bad(5, 8), 5, 20) is None
    assert damage.due() == []
    problem = damage.problem()
    assert problem is not None
    assert problem.reason == "t/0: offsets 5 to 8 cannot be read: its checksum is wrong"
    clock.now = damage.next_due()
    assert damage.due() == [PART]
    assert damage.met(bad(5, 8), 5, 20) is None
    clock.now += 10
    assert damage.met(bad(5, 8), 5, 20) == 8
    assert damage.problem() is None


def test_without_patience_it_is_still_fetched_anew_once() -> None:
    damage = Damage(0.0)

    assert damage.met(bad(5, 8), 5, 20) is None
    assert damage.met(bad(5, 8), 5, 20) == 8


def test_a_batch_that_was_damaged_on_its_way_is_forgotten() -> None:
    damage = Damage(10.0)
    damage.met(bad(5, 8), 5, 20)

    damage.healed(PART)

    assert damage.problem() is None
    assert damage.met(bad(9, 9), 9, 20) is None


def test_the_next_batches_of_a_damaged_stretch_are_not_waited_for() -> None:
    clock = Clock()
    damage = Damage(10.0, clock)
    damage.met(bad(5, 8), 5, 20)
    clock.now += 10
    assert damage.met(bad(5, 8), 5, 20) == 8

    assert damage.met(bad(9, 12), 9, 20) is None
    assert damage.met(bad(9, 12), 9, 20) == 12


def test_where_the_end_is_unknown_the_steps_grow_and_stop_at_the_end_of_the_log() -> None:
    damage = Damage(0.0)
    skipped, following = [], 5
    while following < 20:
        assert damage.met(bad(following, None), following, 20) is None
        last = damage.met(bad(following, None), following, 20)
        assert last is not None
        skipped.append(last)
        following = last + 1

    assert skipped == [5, 7, 11, 19]
    assert damage.met(bad(20, None), 20, 20) is None
    assert damage.met(bad(20, None), 20, 20) is None  # nothing is there to be skipped


def test_an_end_that_lies_beyond_the_log_is_not_believed() -> None:
    damage = Damage(0.0)
    damage.met(bad(5, 900), 5, 20)

    assert damage.met(bad(5, 900), 5, 20) == 5
