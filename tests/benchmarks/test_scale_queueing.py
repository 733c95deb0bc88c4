"""The queueing model agrees with what theory says, where theory says something, and loses no record."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scale_queueing import Change, Times, evenly, simulate, unevenly

PLAIN = Times(event=0.001, gather=0.0, block_events=1)
"""One record at a time, one millisecond each: the queue M/D/1."""


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_worker_with_one_shard_is_the_queue_m_d_1(load: float) -> None:
    found = simulate(PLAIN, [load * 1000], 1, 200.0, seed=1)

    mean = sum(n * (newest + oldest) / 2 for _, n, newest, oldest in found.blocks) / found.learned
    assert mean == pytest.approx(0.001 * (1 + load / (2 * (1 - load))), rel=0.15)  # Pollaczek and Khinchine
    assert found.busy == pytest.approx(load * 200, rel=0.05)


@given(
    partitions=st.integers(1, 12),
    workers=st.integers(1, 6),
    load=st.floats(0.05, 2.0),
    later=st.integers(1, 6),
    killed=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(max_examples=60)
def test_every_record_is_learned_once_or_waits_whatever_moves(
    partitions: int, workers: int, load: float, later: int, killed: bool, seed: int
) -> None:
    times = Times(event=0.001, block=0.0005, snapshot=0.01, snapshot_interval=0.5, hand_over=0.1, session=0.2)
    rates = unevenly(load * 1000 * workers, partitions, seed)

    found = simulate(times, rates, workers, 3.0, seed=seed, changes=[Change(1.0, later, killed)])

    assert found.learned + found.backlog == found.arrived
    assert found.learned == sum(n for _, n, _, _ in found.blocks)
    assert all(0 <= newest <= oldest + 1e-9 for _, _, newest, oldest in found.blocks)
    assert found.busy <= 3.0 * max(workers, later) * 1.2


def test_overloaded_workers_learn_what_they_can() -> None:
    times = Times(event=1e-4, block=0.01)
    one = simulate(times, evenly(50_000, 4), 1, 20.0)
    two = simulate(times, evenly(50_000, 4), 2, 20.0)

    capacity = 512 / (0.01 + 512e-4)
    assert one.rate(5.0) == pytest.approx(capacity, rel=0.02)
    assert two.rate(5.0) == pytest.approx(2 * capacity, rel=0.02)
    assert one.lag(0.99) > two.lag(0.99) > 5


def test_a_quiet_stream_waits_for_the_gathering_and_no_longer() -> None:
    found = simulate(Times(event=1e-5), evenly(200, 2), 2, 20.0)

    assert found.lag(0.99) < 0.06
    assert found.backlog <= 20


def test_a_killed_worker_costs_its_session_and_what_is_learned_again_and_a_handed_over_one_less() -> None:
    times = Times(event=1e-4, snapshot=0.05, snapshot_interval=5.0, session=3.0, hand_over=0.5)
    rates = evenly(20_000, 8)
    killed = simulate(times, rates, 4, 40.0, changes=[Change(10.0, 3, killed=True)])
    told = simulate(times, rates, 4, 40.0, changes=[Change(10.0, 3)])
    still = simulate(times, rates, 4, 40.0)

    assert killed.lag(1.0, 10.0) > 3.5
    assert 0.5 < told.lag(1.0, 10.0) < 3.5
    assert still.lag(1.0, 10.0) < 0.5
    assert 3.5 < killed.recovered(10.0, 0.5) < 20
    assert still.recovered(10.0, 0.5) == 0.0
    assert simulate(times, rates, 4, 40.0, changes=[Change(10.0, 1)]).recovered(10.0, 0.5) == math.inf


def test_the_same_seed_gives_the_same_figures() -> None:
    times = Times(event=1e-4, snapshot=0.01, snapshot_interval=1.0)

    first, second, other = (simulate(times, evenly(5000, 3), 2, 5.0, seed=seed) for seed in (4, 4, 5))

    assert first == second
    assert first != other
