"""The expert that counts: proper densities, gaps from 0 to years, and one state whatever the number of keys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from thalweg.models.prompt_tpp.closed_form import OF_KEY, SHORTEST, Counts, of_noted
from thalweg.models.prompt_tpp.network import UNKNOWN, Past
from thalweg.models.prompt_tpp.next_event import FLOOR_SHARE, NextEvent, mixed


def counted(gaps: list[float], kinds: int = 3, memory: float = 200.0) -> Counts:
    """Types in turn."""
    made = Counts.of(5, memory)
    for row, gap in enumerate(gaps):
        made.learn(row % kinds, (row + 1) % kinds, gap)
    return made


def said(
    counts: Counts, last: int, unit: float = 1.0, known: int = 3, name: str = "closed_form", times: Any = (0.0,)
) -> NextEvent:
    """After events of one type at these times, in units."""
    noted = counts.noted(np.array([last]))
    count = noted["types"].shape[1]
    markov = np.where(np.arange(count) < known, 0.0, UNKNOWN).astype(np.float32)[None]
    past = Past.of(np.array([times]), np.full((1, len(times)), last), np.array([len(times)]), markov, 1.0)
    return of_noted(name, noted["types"], noted["gaps"], past, unit)


def likelihood(one: NextEvent, gap: float, kind: int = 0) -> float:
    return float(one.log_likelihood(torch.tensor([gap], dtype=torch.float64), torch.tensor([kind]))[0])


def test_the_density_sums_to_one_over_types_and_gaps() -> None:
    generator = np.random.default_rng(0)
    one = said(counted(np.exp(generator.standard_normal(300)).tolist()), last=1)
    gaps = torch.from_numpy(np.geomspace(1e-9, 1e7, 20_001))
    rows = NextEvent(one.types.expand(len(gaps), -1), one.parts.expand(len(gaps), -1, -1, -1))

    density = torch.exp(rows.any_log_likelihood(gaps))

    assert float(torch.trapezoid(density, gaps)) == pytest.approx(1.0, abs=0.01)
    assert float(torch.exp(one.types).sum()) == pytest.approx(1.0, abs=1e-6)


def test_a_log_normal_gap_gets_its_own_density() -> None:
    generator = np.random.default_rng(1)
    gaps = np.exp(2.0 + 0.5 * generator.standard_normal(5000))
    counts = Counts.of(2, 1000.0)
    for gap in gaps:
        counts.learn(0, 0, float(gap))

    found = likelihood(said(counts, 0, known=1), math.exp(2.0))

    assert found == pytest.approx(-math.log(0.5 * math.sqrt(2 * math.pi)) - 2.0, abs=0.1)


def test_a_unit_shifts_every_likelihood_by_its_logarithm() -> None:
    counts = counted([10.0, 30.0, 5.0] * 20)

    in_seconds, in_minutes = likelihood(said(counts, 0), 12.0), likelihood(said(counts, 0, unit=60.0), 0.2)

    assert in_minutes == pytest.approx(in_seconds + math.log(60.0), abs=1e-4)


def test_events_at_one_time_are_expected_where_they_are_usual_and_spoil_no_other_gap() -> None:
    bursts, plain = counted([0.0, 0.0, 10.0] * 100, kinds=1), counted([10.0] * 100, kinds=1)

    usual, never = likelihood(said(bursts, 0, known=1), SHORTEST), likelihood(said(plain, 0, known=1), SHORTEST)
    long_gap = likelihood(said(bursts, 0, known=1), 10.0)

    assert usual > never + 4.0
    assert long_gap == pytest.approx(likelihood(said(plain, 0, known=1), 10.0) + math.log(1 / 3), abs=0.3)


def test_a_type_seldom_seen_has_the_gaps_of_all_types() -> None:
    counts = counted([7.0] * 200, kinds=2)

    seen, unseen = likelihood(said(counts, 0), 7.0), likelihood(said(counts, 4, known=5), 7.0)

    assert unseen > seen - 4.0


def test_a_shorter_memory_follows_a_change_sooner() -> None:
    gaps = [1.0] * 300 + [100.0] * 15
    slow, fast = counted(gaps, kinds=1), counted(gaps, kinds=1, memory=10.0)

    assert likelihood(said(fast, 0, known=1), 100.0) > likelihood(said(slow, 0, known=1), 100.0) + 1.0


def test_a_key_that_is_slower_than_the_others_and_repeats_itself_is_expected_to_go_on_so() -> None:
    counts = counted([1.0] * 300)
    years = (3e7 * np.arange(12.0)).tolist()

    of_all, of_key = said(counts, 0, times=years), said(counts, 0, times=years, name=OF_KEY)
    new = said(counts, 0, name=OF_KEY)

    assert likelihood(of_key, 3e7) > likelihood(of_all, 3e7) + 5.0
    assert float(of_key.types[0, 0]) > float(of_all.types[0, 0]) + 2.0
    np.testing.assert_allclose(torch.exp(of_key.types).sum(dim=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(new.parts, said(counts, 0).parts, atol=0.01)


def test_a_key_of_bursts_is_expected_to_burst() -> None:
    counts = counted([1.0] * 300)
    at_once, spread = [0.0, *[5.0] * 9], [*range(10)]

    one, other = (said(counts, 0, times=np.array(t, float).tolist(), name=OF_KEY) for t in (at_once, spread))

    assert likelihood(one, SHORTEST) > likelihood(other, SHORTEST) + 1.0


@pytest.mark.parametrize("gap", [1e-6, 1e-3, 1.0, 3e6, 1e9])
def test_a_gap_that_nobody_expects_has_a_floor(gap: float) -> None:
    one = said(counted([1.0] * 300, kinds=1), 0, known=1)

    found = likelihood(mixed([one], [1.0], [1.0]), gap)

    assert found > math.log(FLOOR_SHARE) - math.log(gap) - 6.0
    assert likelihood(mixed([one], [1.0], [1.0]), 1.0) == pytest.approx(likelihood(one, 1.0), abs=2 * FLOOR_SHARE)


def test_a_mixture_is_the_mean_of_its_experts_types_by_one_weight_and_gaps_by_another() -> None:
    one, other = said(counted([1.0] * 50), 0), said(counted([5.0] * 50, kinds=2), 0)

    together = mixed([one, other], [0.25, 0.75], [0.6, 0.4])

    types = 0.25 * torch.exp(one.types) + 0.75 * torch.exp(other.types)
    np.testing.assert_allclose(torch.exp(together.types), types, rtol=1e-5)
    gap = torch.tensor([5.0], dtype=torch.float64)
    gaps = 0.6 * torch.exp(one.log_density(gap)) + 0.4 * torch.exp(other.log_density(gap))
    np.testing.assert_allclose(torch.exp(together.log_density(gap)), gaps.expand(-1, 5), rtol=2e-3)
    assert float(together.hazard(torch.tensor([1e-9], dtype=torch.float64))[0]) == pytest.approx(0.0, abs=0.05)
