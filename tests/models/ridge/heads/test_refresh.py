"""When to solve: counts and sizes, nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.ridge.heads.refresh import event_cost, interval, recursion_pays, solve_cost


def auto(size: int, seen: int) -> int:
    return interval("auto", seen, solve_cost(size, 10), event_cost(size, 10))


def test_small_heads_are_solved_for_every_micro_batch() -> None:
    assert auto(65, 10**6) == 1
    assert auto(193, 10**6) == 1


def test_large_heads_are_solved_often_at_the_start_and_rarely_later() -> None:
    assert auto(1024, 0) == 1
    assert auto(1024, 100) == 25
    assert auto(1024, 10**6) == auto(1024, 10**7) > 1024


@given(size=st.integers(1, 8192))
def test_in_the_long_run_solving_costs_at_most_its_share_beyond_what_is_free(size: int) -> None:
    solve, event = solve_cost(size, 10), event_cost(size, 10)
    every = interval("auto", 10**9, solve, event)

    assert solve - 3e6 <= 0.15 * event * (every + 1)


def test_a_number_of_events_is_taken_at_its_word() -> None:
    assert interval(7, 10**6, 1e12, 1.0) == 7


def test_recursion_pays_for_few_events_and_many_features() -> None:
    assert recursion_pays(1024, 10, 1)
    assert recursion_pays(1024, 10, 64)
    assert not recursion_pays(1024, 10, 256)
    assert not recursion_pays(64, 10, 64)
