"""A pool of prompts; each history uses the few whose keys are most similar to it.

Source: Xue et al., "Prompt-augmented Temporal Point Process for Streaming Event Sequence", NeurIPS 2023
(arXiv:2310.04993). A prompt has a learned, structural part and a temporal part: the embedding of the time at which the
next event is expected. Retrieval is per history, by cosine similarity, and uses only that history; the released code
votes over a batch and looks ahead, which makes a prediction depend on other rows.
"""

from __future__ import annotations

from typing import NamedTuple

from thalweg.models.parts.torch_setup import Tensor, functional, torch


class Chosen(NamedTuple):
    """Prompts selected for each history."""

    places: Tensor
    """(B, N), best first."""
    similarity: Tensor
    """Cosines (B, N); gradients reach the keys alone."""


def choose(keys: Tensor, queries: Tensor, count: int) -> Chosen:
    """The `count` prompts whose keys (M, D) are most similar to queries (B, D).

    The selection depends on the row alone: products are summed in order, and of equals the lower index comes first.
    """
    unit_keys = functional.normalize(keys, dim=1, eps=1e-12)
    unit_queries = functional.normalize(queries.detach(), dim=1, eps=1e-12)
    cosine = (unit_queries[:, None] * unit_keys).sum(dim=2)
    places = torch.sort(cosine.detach(), dim=1, descending=True, stable=True).indices[:, :count]
    return Chosen(places, cosine.gather(1, places))


def rows(prompts: Tensor, places: Tensor, expected: Tensor) -> Tensor:
    """Rows (B, N·Lp, Ds + Dt) of prompts (M, Lp, Ds) at indices (B, N), each completed by its time part (B, Dt)."""
    structural = prompts[places].flatten(1, 2)
    temporal = expected[:, None].expand(-1, structural.shape[1], -1)
    return torch.cat([structural, temporal], dim=2)
