"""Neural Hawkes process: a continuous-time LSTM whose cell decays between events.

Source: Mei and Eisner, "The Neural Hawkes Process", NeurIPS 2017 (arXiv:1612.09328); per-type sharpness as in EasyTPP.
State per key: 4·H numbers; cost per event 14·H², per intensity H·K.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from thalweg.models.parts.torch_setup import Tensor, functional, torch

Weights = Mapping[str, Tensor]


class CellState(NamedTuple):
    """After an event, each (B, H)."""

    cell: Tensor
    target: Tensor
    """The value the cell decays to."""
    decay: Tensor
    """Rate of decay, above 0."""
    output: Tensor

    @classmethod
    def zero(cls, rows: int, width: int, like: Tensor) -> CellState:
        """Before the first event."""
        return cls(*(torch.zeros(rows, width, dtype=like.dtype, device=like.device) for _ in range(4)))

    def hidden(self, ages: Tensor) -> Tensor:
        """(B, Q, H) at ages (B, Q) after the event."""
        fading = torch.exp(-self.decay[:, None] * ages[:, :, None])
        cell = self.target[:, None] + (self.cell - self.target)[:, None] * fading
        return self.output[:, None] * torch.tanh(cell)


def advance(weights: Weights, state: CellState, gaps: Tensor, types: Tensor, shift: Tensor | None = None) -> CellState:
    """The state after events of types (B,), gaps (B,) after the previous ones.

    Args:
        weights: `emb` (types, H), `cell.weight` (7 H, 2 H), `cell.bias` (7 H,).
        state: After the previous event.
        gaps: In the model's unit.
        types: Below the number of embeddings.
        shift: Added to the gates' pre-activations, (B, 7 H), by prompts.
    """
    return advance_embedded(weights, state, gaps, weights["emb"][types], shift)


def advance_embedded(
    weights: Weights, state: CellState, gaps: Tensor, kinds: Tensor, shift: Tensor | None = None
) -> CellState:
    """Like `advance`, for events with the embeddings (B, H)."""
    hidden = state.hidden(gaps[:, None])[:, 0]
    cell = state.target + (state.cell - state.target) * torch.exp(-state.decay * gaps[:, None])
    seen = torch.cat([kinds, hidden], dim=1)
    gates = functional.linear(seen, weights["cell.weight"], weights["cell.bias"])
    if shift is not None:
        gates = gates + shift
    enter, enter_target, keep, keep_target, candidate, output, decay = gates.chunk(7, dim=1)
    new = torch.tanh(candidate)
    return CellState(
        torch.sigmoid(keep) * cell + torch.sigmoid(enter) * new,
        torch.sigmoid(keep_target) * state.target + torch.sigmoid(enter_target) * new,
        functional.softplus(decay),
        torch.sigmoid(output),
    )


def rates(weights: Weights, hidden: Tensor) -> Tensor:
    """Intensities (…, K) of hidden vectors (…, H): softplus(β x)/β, β = exp(`log_beta`)."""
    raw = functional.linear(hidden, weights["head.weight"], weights["head.bias"])
    beta = torch.exp(weights["log_beta"])
    return functional.softplus(beta * raw) / beta
