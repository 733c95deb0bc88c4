"""The evidence for a challenger: how often it deceives, and how soon it is enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.stream.comparison.evidence import Path, Sums, log_evidence, share_of_alpha

ALPHA = 0.05
STREAMS, EVENTS = 10_000, 400
Kind: TypeAlias = Callable[[np.random.Generator, int], NDArray[np.float64]]


def ever_enough(totals: NDArray[np.float64], squares: NDArray[np.float64], alpha: float = ALPHA) -> int:
    """How many streams have evidence of 1 / alpha at any of these times, (S, T)."""
    found = log_evidence(totals.ravel(), squares.ravel()).reshape(totals.shape)
    return int((found.max(axis=1) >= math.log(1 / alpha)).sum())


def promoting(kind: Kind, seed: int = 7) -> float:
    """The share of ten thousand streams of a kind that ever promote the challenger."""
    rng, reached = np.random.default_rng(seed), 0
    looked = np.r_[0:40, 40:EVENTS:20, EVENTS - 1]  # small bets move the evidence little in between
    for _ in range(STREAMS // 100):
        differences = kind(rng, 100)
        totals, squares = np.cumsum(differences, axis=1), np.cumsum(differences**2, axis=1)
        reached += ever_enough(totals[:, looked], squares[:, looked])
    return reached / STREAMS


def signs(rng: np.random.Generator, chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of 0-1 losses: 1 with these chances (S, N), and -1 with the same."""
    drawn = rng.random(chances.shape)
    found: NDArray[np.float64] = np.where(drawn < chances, 1.0, np.where(drawn < 2 * chances, -1.0, 0.0))
    return found


def seldom_far_better(rng: np.random.Generator, streams: int) -> NDArray[np.float64]:
    """The challenger is mostly a little worse, and in a tenth of the events far better."""
    found: NDArray[np.float64] = np.where(rng.random((streams, EVENTS)) < 0.1, 0.9, -0.1)
    return found


def in_turns(rng: np.random.Generator, streams: int) -> NDArray[np.float64]:
    """Autocorrelated losses: for fifty events at a time both models differ often, or hardly ever."""
    turns = np.where(rng.random((streams, EVENTS // 50)) < 0.5, 0.3, 0.02)
    return signs(rng, np.repeat(turns, 50, axis=1))


def by_the_past(rng: np.random.Generator, streams: int) -> NDArray[np.float64]:
    """Once the challenger is ahead, both differ eight times as often: an adversary within the null."""
    found, won = np.zeros((streams, EVENTS)), np.zeros(streams)
    for event in range(EVENTS):
        found[:, event] = signs(rng, np.where(won > 0, 0.4, 0.05)[:, None])[:, 0]
        won += found[:, event]
    return found


def by_turns_worse_and_better(rng: np.random.Generator, streams: int) -> NDArray[np.float64]:
    """The challenger is worse for 125 events, then better by as much: never better since the test began."""
    sooner, later = rng.random((streams, EVENTS)), rng.random((streams, EVENTS))
    worse, better = (sooner < 0.12).astype(float), (later < 0.08).astype(float)
    day = np.arange(EVENTS) % 250 < 125
    found: NDArray[np.float64] = np.where(day, better - worse, worse - better)
    return found


NULL_STREAMS: dict[str, Kind] = {
    "signs": lambda rng, streams: signs(rng, np.full((streams, EVENTS), 0.1)),
    "rare signs": lambda rng, streams: signs(rng, np.full((streams, EVENTS), 0.005)),
    "numbers": lambda rng, streams: rng.uniform(-1, 1, (streams, EVENTS)),
    "often a little worse, seldom far better": seldom_far_better,
    "in turns": in_turns,
    "by the past": by_the_past,
    "by turns worse and better": by_turns_worse_and_better,
}


@pytest.mark.parametrize("kind", NULL_STREAMS)
def test_of_ten_thousand_streams_without_a_better_model_no_more_than_alpha_promote_one(kind: str) -> None:
    assert promoting(NULL_STREAMS[kind]) <= ALPHA


def test_of_ten_thousand_streams_of_a_hundred_million_events_no_more_than_alpha_promote_an_equal_model() -> None:
    """Looked at 150 times on the way: the longer a stream, the more looks a fixed test would be deceived by."""
    rng = np.random.default_rng(5)
    times = np.unique(np.geomspace(1, 1e8, 150).astype(np.int64))
    reached = 0
    for _ in range(STREAMS // 100):
        differing = rng.binomial(np.diff(times, prepend=0), 0.2, (100, len(times)))
        totals = np.cumsum(2 * rng.binomial(differing, 0.5) - differing, axis=1)
        reached += ever_enough(totals.astype(float), np.cumsum(differing, axis=1).astype(float))

    assert reached / STREAMS <= ALPHA


@pytest.mark.parametrize(("gap", "most"), [(0.01, 25_000), (0.02, 7_000), (0.05, 1_500)])
def test_a_better_challenger_is_found_within_the_documented_number_of_events(gap: float, most: int) -> None:
    """Two models that differ in a tenth of the events; in median, with the share of the first of two challengers."""
    rng = np.random.default_rng(1)
    needed = math.log(1 / share_of_alpha(ALPHA, 1, 1))
    drawn = rng.random((101, most))
    differences = np.where(drawn < 0.05 + gap / 2, 1.0, np.where(drawn < 0.1, -1.0, 0.0))

    found = sum(Path.after(Sums(), one).first_for(needed) < most for one in differences)

    assert found > len(differences) / 2


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 5))
def test_however_differences_are_cut_the_sums_are_the_same_in_every_bit_and_so_is_the_deciding_event(
    cuts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.uniform(-0.6, 1, sum(cuts))
    differences[rng.random(len(differences)) < 0.2] = np.nan
    whole = Path.after(Sums(), differences)
    needed = whole.sums(len(differences) // 2).log_evidence  # exactly what is reached there: no rounding may matter

    sums, reached = Sums(), list[int]()
    for part, begin in zip(np.split(differences, np.cumsum(cuts)[:-1]), np.cumsum([0, *cuts])):
        path = Path.after(sums, part)
        if (row := path.first_for(needed)) < len(part):
            reached.append(int(begin) + row)
        sums = path.sums(-1)

    assert sums == whole.sums(-1)
    assert reached[0] == whole.first_for(needed) <= len(differences) // 2
    assert sums.events == int((~np.isnan(differences)).sum())


def test_the_shares_of_all_tests_add_up_to_alpha() -> None:
    assert sum(2 * share_of_alpha(ALPHA, group, 2) for group in range(1, 100_000)) == pytest.approx(ALPHA, rel=1e-4)


def test_without_events_there_is_no_evidence_either_way() -> None:
    assert Sums().log_evidence == pytest.approx(0.0)
    assert Sums().log_evidence_against == pytest.approx(0.0)
    assert Sums().mean == 0.0
