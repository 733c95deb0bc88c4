"""Micro-batches grow with what waits, as far as that makes events cheaper; of a slow stream they are single events."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thalweg.stream.learn.micro_batches.size import LARGEST, MicroBatchSize


def lived(size: MicroBatchSize, waiting: list[int], cost: Callable[[int], float]) -> list[int]:
    """The sizes chosen while so many records wait before each block of 512 events; `cost`: seconds of a micro-batch."""
    found = []
    for records in waiting:
        chosen = size.choose(min(512, records), max(0, records - 512))
        found.append(chosen)
        events = min(512, records)
        size.learned(chosen, events, events, cost(chosen) * events / chosen)
    return found


def test_a_slow_stream_is_learned_row_by_row_from_the_first_event_on() -> None:
    assert lived(MicroBatchSize("auto"), [1, 3, 1, 40, 1, 700, 1], lambda events: 1e-4) == [1] * 7


def test_the_more_waits_the_larger_they_are_and_afterwards_it_is_row_by_row_again() -> None:
    size = MicroBatchSize("auto")

    backlog = lived(size, [1_000_000 - 512 * block for block in range(100)], lambda events: 1e-4)
    calm = lived(size, [1] * 5, lambda events: 1e-4)

    assert backlog[-1] == 128  # 8,000 micro-batches of 0.1 ms are less than a second, 16,000 are more
    assert calm == [1] * 5


def test_the_less_may_wait_the_sooner_they_grow() -> None:
    def largest(within: float) -> int:
        return max(lived(MicroBatchSize("auto", within_seconds=within), [2000] * 20, lambda events: 1e-4))

    assert [largest(within) for within in (1.0, 0.1, 0.01)] == [1, 2, 32]


def test_no_block_is_larger_than_the_largest_and_all_are_powers_of_two() -> None:
    found = lived(MicroBatchSize("auto"), [10**9] * 50, lambda events: 1e-4)

    assert found[-1] == max(found) == LARGEST
    assert all(one & (one - 1) == 0 for one in found)


def test_where_an_event_costs_the_same_in_any_micro_batch_they_stay_small_whatever_waits() -> None:
    found = lived(MicroBatchSize("auto"), [10**6] * 200, lambda events: 1e-3 * events)

    assert sorted(found)[len(found) // 2] == 1
    assert max(found) <= 4


def test_one_slow_block_does_not_keep_them_small_for_ever() -> None:
    size = MicroBatchSize("auto")
    size.learned(1, 512, 512, 0.1)
    size.learned(2, 512, 512, 60.0)  # the machine stood still

    found = lived(size, [10**6] * 3000, lambda events: 1e-4)

    assert found[0] == 1
    assert found[-1] == 128


def test_records_of_many_events_are_counted_by_their_events() -> None:
    size = MicroBatchSize("auto")
    size.counted(1000)

    assert size.choose(250, 0) == 256  # a quarter of a million events, of which nobody knows yet how long they take
    assert size.choose(1, 0) == 1


def test_a_backlog_of_records_of_many_events_is_not_learned_in_small_ones_for_long() -> None:
    size = MicroBatchSize("auto")
    size.counted(100)
    found, took = [], 0.0
    for block in range(20):  # of 16,000 events each
        found.append(size.choose(160, 1_000_000 - 160 * block))
        took += 16_000 / found[-1] * 1e-3  # a millisecond for each micro-batch, whatever its size
        size.learned(found[-1], 160, 16_000, 16_000 / found[-1] * 1e-3)

    assert found[:3] == [16, 32, 64]
    assert found[-1] == LARGEST
    assert took < 3.0  # 1.25 seconds are what the largest take for all


def test_a_size_whose_block_would_take_too_long_is_not_tried() -> None:
    size = MicroBatchSize("auto", within_seconds=0.2)
    size.learned(1, 512, 512, 0.512)

    assert size.choose(512, 10_000) == 4  # two would take 0.256 s at best


def test_a_learner_that_learns_by_steps_never_gets_less_than_it_wants() -> None:
    size = MicroBatchSize("auto", least=64)

    assert lived(size, [1, 5, 10**8], lambda events: 1e-3)[:2] == [64, 64]
    assert min(lived(size, [10**8] * 20, lambda events: 1e-3)) >= 64


def test_a_learner_that_learns_by_steps_takes_as_many_of_a_backlog() -> None:
    cheaper = lived(MicroBatchSize("auto", least=64), [10**8] * 20, lambda events: 1e-2 / events)

    assert set(cheaper) == {64}


@pytest.mark.parametrize("configured", [1, 7, 100_000])
def test_a_number_is_that_number_whatever_waits(configured: int) -> None:
    found = lived(MicroBatchSize(configured), [1, 10**9, 3], lambda events: 1.0)

    assert found == [configured] * 3
