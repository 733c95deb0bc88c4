"""The next event of each of B histories as a density in closed form: its type, then the gap given the type.

Probabilities of types, and per type a mixture of log-normals for the gap (Shchur, Biloš and Günnemann, "Intensity-Free
Learning of Temporal Point Processes", ICLR 2020, arXiv:1909.12127): no grid in training, and gaps from microseconds to
years in one model. Several such densities mix to another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.models.prompt_tpp.process import Forecast

WIDEST = 3.0
"""Log deviations of gaps that networks give are between -WIDEST and WIDEST."""
NARROWEST = 7.0
"""Those of gaps that were counted are down to -NARROWEST: what comes every minute comes to the tenth of a second."""
FLOOR_SHARE = 1e-4
"""Probability of a gap that no expert expects: it bounds from below what one event can cost."""
_FLOOR_SPREAD = 2.5  # log of the deviation of its log gap: 12, from e^-24 to e^24 units within two deviations


class NextEvent(NamedTuple):
    """The densities, by row."""

    types: Tensor
    """Log-probabilities (B, K) of types; -inf for types not seen yet."""
    parts: Tensor
    """Mixtures of log-normals (B, K, 3, M): logits, means and log deviations of the log gap, in units."""
    votes: Tensor | None = None
    """How much is said for the answer that it is each type, (B, K); None: as much as is likely."""

    def mixture(self) -> NextEvent:
        """Itself: what every reading of the next event offers."""
        return self

    @property
    def answers(self) -> Tensor:
        """The type to answer, (B,)."""
        return (self.types if self.votes is None else self.votes).argmax(dim=1)

    def log_density(self, gaps: Tensor) -> Tensor:
        """Log-densities (B, K) of gaps (B,), given each type."""
        return log_density(self.parts, torch.log(gaps).to(self.types.dtype)[:, None])[:, 0]

    def log_likelihood(self, gaps: Tensor, types: Tensor) -> Tensor:
        """Log-likelihood of events of types (B,) after gaps (B,); type -1: of no event until then."""
        censored, kinds = types < 0, types.clamp(min=0)
        logs = torch.log(gaps).to(self.types.dtype)[:, None]
        every = log_density(self.parts, logs)[:, 0]  # (B, K)
        came = (self.types + every).gather(1, kinds[:, None])[:, 0]
        still = torch.log((torch.exp(self.types) * survival(self.parts, logs)[:, 0]).sum(dim=1).clamp(min=1e-30))
        return torch.where(censored, still, came)

    def any_log_likelihood(self, gaps: Tensor) -> Tensor:
        """Log-density (B,) of gaps (B,), whatever the type."""
        return torch.logsumexp(self.types + self.log_density(gaps), dim=1)

    def hazard(self, gaps: Tensor) -> Tensor:
        """∫ λ over gaps (B,): unit exponential if the model is correct (time rescaling)."""
        return -self.log_likelihood(gaps, torch.full_like(gaps, -1, dtype=torch.int64))

    def rates(self, ages: Tensor) -> Tensor:
        """Intensities (B, Q, K) at ages (B, Q); 0 for types not seen yet."""
        logs = torch.log(ages.clamp(min=1e-12)).to(self.types.dtype)
        density = torch.exp(log_density(self.parts, logs) + self.types[:, None])  # f(g, k), (B, Q, K)
        still = (torch.exp(self.types)[:, None] * survival(self.parts, logs)).sum(dim=2, keepdim=True)
        return torch.where(torch.isfinite(self.types)[:, None], density / still.clamp(min=1e-30), 0.0)

    def forecast(self, horizon: Tensor, count: int) -> Forecast:
        """The next event within the horizon (B,), on this many nodes."""
        ages = horizon[:, None] * torch.linspace(0.0, 1.0, count, dtype=horizon.dtype, device=horizon.device) ** 2
        logs = torch.log(ages.clamp(min=1e-12)).to(self.types.dtype)
        still = (torch.exp(self.types)[:, None] * survival(self.parts, logs)).sum(dim=2).to(ages.dtype)
        return Forecast(self._mean_until(horizon), torch.exp(self.types), ages, still)

    def _mean_until(self, horizon: Tensor) -> Tensor:
        """Expected age of the next event, capped at the horizon (B,): exact, where no grid is as fine as a gap of which
        all is known."""
        weight, middle, spread = (part.double() for part in _parts(self.parts))
        deviation, end = torch.exp(spread), torch.log(horizon.double())[:, None, None]
        z = (end - middle) / deviation
        sooner = torch.exp(weight + middle + 0.5 * deviation * deviation + torch.special.log_ndtr(z - deviation))
        later = torch.exp(weight + end + torch.special.log_ndtr(-z))
        means = (sooner + later).sum(dim=2)  # (B, K), or (B, 1)
        total: Tensor = (torch.exp(self.types).double() * means).sum(dim=1)
        return total.to(horizon.dtype)


def mixed(
    experts: Sequence[NextEvent],
    of_types: Sequence[float],
    of_gaps: Sequence[float],
    of_answers: Sequence[float] = (),
) -> NextEvent:
    """The mixture of experts: types by one set of weights, gaps given the type by another.

    Two sets, because who knows what comes next need not know when. A broad density with `FLOOR_SHARE` of the weight
    is mixed into the gaps.

    Args:
        experts: Over the same histories and types; the gap's parts may be (B, 1, 3, M): the same for all types.
        of_types: Weights that sum to 1.
        of_gaps: Weights that sum to 1.
        of_answers: Weights of what each holds likely, in the type that is answered; empty: the most likely type is.
    """
    kinds = experts[0].types.shape[1]
    said = [one.types + _log(weight) for one, weight in zip(experts, of_types)]
    highest = torch.stack(said).amax(dim=0).clamp(min=-1e30)  # finite also where nobody knows the type
    total = torch.zeros_like(highest)
    for one in said:  # in order: how a library sums over experts depends on the number of rows
        total = total + torch.exp(one - highest)
    types = highest + torch.log(total)
    columns = []
    for expert, weight in zip(experts, of_gaps):
        logits, means, spreads = _parts(expert.parts)
        share = _log(weight) + math.log1p(-FLOOR_SHARE)
        columns.append(torch.stack([logits + share, means, spreads], dim=2).expand(-1, kinds, -1, -1))
    floor = torch.tensor([math.log(FLOOR_SHARE), 0.0, _FLOOR_SPREAD], dtype=types.dtype, device=types.device)
    columns.append(floor[:, None].expand(len(types), kinds, -1, -1))
    votes = torch.zeros_like(types)
    for given, weight in zip(experts, of_answers):
        votes = votes + weight * torch.exp(given.types)
    return NextEvent(types, torch.cat(columns, dim=3), votes if of_answers else None)


def _log(weight: float) -> float:
    return math.log(max(weight, 1e-30))  # an expert that is not believed at all


def log_density(parts: Tensor, logs: Tensor) -> Tensor:
    """Log-density (B, Q, K) of gaps with these logarithms (B, Q)."""
    weight, middle, spread = (part[:, None] for part in _parts(parts))
    z = (logs[:, :, None, None] - middle) * torch.exp(-spread)
    inside = weight - 0.5 * z * z - spread - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(inside, dim=3) - logs[:, :, None]


def survival(parts: Tensor, logs: Tensor) -> Tensor:
    """Probability (B, Q, K) of a longer gap."""
    weight, middle, spread = (part[:, None] for part in _parts(parts))
    z = (logs[:, :, None, None] - middle) * torch.exp(-spread)
    return (torch.exp(weight) * 0.5 * torch.erfc(z / math.sqrt(2.0))).sum(dim=3)


def _parts(parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weight, middle, spread = parts.unbind(dim=2)
    return torch.log_softmax(weight, dim=2), middle, spread.clamp(-NARROWEST, WIDEST)
