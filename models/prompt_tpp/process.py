"""Marked temporal point processes: likelihood of an interval, and the next event, for any intensity.

An intensity is a function of ages: seconds (in the model's unit) after the last event, per row, to rates per type.
Likelihood conditions on a sequence's first event and has no tail term, as in the field's benchmarks; a censored
interval (no event until now) is the integral alone. Nothing is sampled: integrals use the trapezoid rule, the next
event the survival function on a grid (PromptTPP and EasyTPP use thinning, which costs more and is noisy).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from thalweg.models.parts.torch_setup import Tensor, torch

Intensity: TypeAlias = Callable[[Tensor], Tensor]
"""Ages (B, Q) to rates (B, Q, K)."""

EPSILON = 2.0**-23
"""Added to rates before logarithms, in training and scoring."""


def nodes(gaps: Tensor, count: int) -> Tensor:
    """Ages (B, count), equally spaced over each gap (B,), both ends included."""
    return gaps[:, None] * torch.linspace(0.0, 1.0, count, dtype=gaps.dtype, device=gaps.device)


def integral(rates: Tensor, gaps: Tensor) -> Tensor:
    """∫ of rates (B, Q) at equally spaced nodes over gaps (B,), by the trapezoid rule."""
    return torch.trapezoid(rates, dim=1) * (gaps / (rates.shape[1] - 1))


class Interval(NamedTuple):
    """The terms of an interval's log-likelihood."""

    event: Tensor
    """log λ of the event's type, at its time, (B,)."""
    compensator: Tensor
    """∫ λ over the gap, (B,)."""


def interval(intensity: Intensity, gaps: Tensor, types: Tensor, count: int, epsilon: float = EPSILON) -> Interval:
    """Terms for events of types (B,) after gaps (B,).

    Args:
        intensity: Of the state after the previous event.
        gaps: 0 or more, in the model's unit.
        types: Below K.
        count: Nodes of the integral, 2 or more.
        epsilon: Added to each rate.
    """
    rates = intensity(nodes(gaps, count)) + epsilon
    event = rates[:, -1].gather(1, types[:, None])[:, 0].log()
    return Interval(event, integral(rates.sum(dim=2), gaps))


class Forecast(NamedTuple):
    """The next event, by row."""

    gap: Tensor
    """Expected age of the next event, capped at the horizon, (B,)."""
    types: Tensor
    """Probabilities (B, K) of its type, given that it comes within the horizon."""
    ages: Tensor
    """The grid, (B, Q)."""
    survival: Tensor
    """Survival: probability of no event until then, (B, Q)."""

    def quantile(self, share: float) -> Tensor:
        """Age (B,) by which the next event occurs with this probability; the horizon where it is later."""
        return when(self.ages, self.survival, 1.0 - share)


def forecast(intensity: Intensity, horizon: Tensor, count: int) -> Forecast:
    """By survival on a grid that is finer near 0.

    Args:
        intensity: Of the present state.
        horizon: Maximum ages (B,); some twenty mean gaps.
        count: Nodes.
    """
    steps = torch.linspace(0.0, 1.0, count, dtype=horizon.dtype, device=horizon.device)
    ages = horizon[:, None] * steps**2
    rates = intensity(ages)
    widths = ages.diff(dim=1)
    total = rates.sum(dim=2)
    hazard = torch.zeros_like(ages)
    hazard[:, 1:] = torch.cumsum(0.5 * (total[:, 1:] + total[:, :-1]) * widths, dim=1)
    survival = torch.exp(-hazard)
    # within a step the rate is about constant: ∫S is (S_left - S_right) / rate, which also holds for coarse steps
    drop = hazard.diff(dim=1)
    share = torch.where(drop > 1e-6, -torch.expm1(-drop) / drop.clamp(min=1e-30), 1.0 - 0.5 * drop)
    lasting = survival[:, :-1] * share * widths  # ∫ S over each step
    mean_rates = 0.5 * (rates[:, 1:] + rates[:, :-1])
    came = (mean_rates * lasting[:, :, None]).sum(dim=1)
    types = came / came.sum(dim=1, keepdim=True).clamp(min=1e-300)
    return Forecast(lasting.sum(dim=1), types, ages, survival)


def when(ages: Tensor, survival: Tensor, level: float) -> Tensor:
    """First age (B,) at which survival falls to a level, interpolated in its logarithm; else the last age."""
    below = survival <= level
    first = torch.where(below.any(dim=1), below.to(torch.int8).argmax(dim=1), below.shape[1] - 1).clamp(min=1)
    right, left = first[:, None], first[:, None] - 1
    high, low = survival.gather(1, left).log(), survival.gather(1, right).clamp(min=1e-300).log()
    part = ((high - torch.log(torch.tensor(level, dtype=ages.dtype))) / (high - low).clamp(min=1e-30)).clamp(0.0, 1.0)
    start, end = ages.gather(1, left), ages.gather(1, right)
    return (start + part * (end - start))[:, 0]
