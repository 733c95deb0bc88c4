"""Attentive neural Hawkes process, with prompts in front of keys and values.

Source: Yang, Mei and Eisner, "Transformer Embeddings of Irregularly Spaced Events and Their Participants", ICLR
2022 (arXiv:2201.00044), in EasyTPP's form: plain softmax, no residual on event rows; prompts after PromptTPP
(arXiv:2310.04993), as a prefix of the rows that enter the key and the value map. Every head starts from the embeddings.
A history is encoded once; each time at which an intensity is computed is then one more row that attends to it.
Cost: encoding h events, heads·layers·h·(3 (d + Dt) d + d h); an intensity, heads·layers·(3 (d + Dt) d + 2 d (h + P)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from thalweg.models.parts.torch_setup import Tensor, functional, torch

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class AttentiveShape:
    """The architecture of an attentive process."""

    width: int
    """Numbers per type embedding and per head, d."""
    time_width: int
    """Numbers per time embedding, Dt, even."""
    layers: int
    heads: int


class Prefix(NamedTuple):
    """Prompt rows for one layer of one head, each (B, P, d + Dt)."""

    keys: Tensor
    values: Tensor


Prefixes = Mapping[tuple[int, int], Prefix]
"""By head and layer."""


class Encoded(NamedTuple):
    """An encoded history: keys and values by head and layer, and a mask of the columns."""

    keys: list[list[Tensor]]
    values: list[list[Tensor]]
    columns: Tensor
    """(B, P + L): True where there is a prompt or an event."""
    last: Tensor
    """Times (B,) of the last events."""


def embed_times(times: Tensor, width: int) -> Tensor:
    """(…, width) of times: sin and cos at rates 10000^(-2j/width), in turns; in the dtype of the times."""
    powers = torch.arange(0, width, 2, dtype=times.dtype, device=times.device) / width
    angles = times[..., None] * torch.exp(powers * -math.log(10000.0))
    return torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).flatten(-2)


def event_rows(shape: AttentiveShape, weights: Weights, times: Tensor, types: Tensor) -> Tensor:
    """Input of the first layer, (B, L, d + Dt)."""
    kinds = torch.tanh(weights["emb"][types])
    return torch.cat([kinds, embed_times(times, shape.time_width).to(kinds.dtype)], dim=-1)


def encode(
    shape: AttentiveShape,
    weights: Weights,
    times: Tensor,
    types: Tensor,
    lengths: Tensor,
    prefixes: Prefixes,
    more: Tensor | None = None,
) -> Encoded:
    """Encode histories.

    Args:
        shape: The architecture.
        weights: `emb`, and by head and layer `q.H.L.weight`, `.bias`, `k…`, `v…` (d, d + Dt).
        times: (B, L) ascending, in the model's unit from a nearby origin.
        types: (B, L).
        lengths: (B,) 1 or more: events of each row; values beyond are ignored.
        prefixes: Prompt rows; empty for none.
        more: Added to the type embeddings, (B, L, d).
    """
    rows = event_rows(shape, weights, times, types)
    if more is not None:
        rows = torch.cat([rows[:, :, : shape.width] + more, rows[:, :, shape.width :]], dim=2)
    length = rows.shape[1]
    there = torch.arange(length, device=times.device) < lengths[:, None]
    causal = torch.ones(length, length, dtype=torch.bool, device=times.device).tril()
    clock = rows[:, :, shape.width :]
    every_key, every_value = [], []
    prompts = next(iter(prefixes.values())).keys.shape[1] if prefixes else 0
    front = torch.ones(len(rows), prompts, dtype=torch.bool, device=times.device)
    columns = torch.cat([front, there], dim=1)
    visible = torch.cat([front[:, None].expand(-1, length, -1), causal & there[:, None]], dim=2)
    visible = visible | ~there[:, :, None]  # masked rows attend to everything: a row must attend to something
    for head in range(shape.heads):
        head_keys, head_values = [], []
        x = rows
        for layer in range(shape.layers):
            q, k, v = _maps(weights, head, layer, x, prefixes.get((head, layer)))
            head_keys.append(k)
            head_values.append(v)
            if layer + 1 < shape.layers:
                x = torch.cat([_attended(q, k, v, visible), clock], dim=2)
        every_key.append(head_keys)
        every_value.append(head_values)
    last = times.gather(1, lengths[:, None] - 1)[:, 0]
    return Encoded(every_key, every_value, columns, last)


def attend_events(weights: Weights, head: int, layer: int, x: Tensor, prefix: Prefix, *, causal: bool) -> Tensor:
    """One layer over event rows (B, L, d + Dt): each attends to prompts and, if `causal`, itself and earlier ones."""
    length, prompts = x.shape[1], prefix.keys.shape[1]
    visible = torch.ones(length, length, dtype=torch.bool)
    visible = torch.cat([torch.ones(length, prompts, dtype=torch.bool), visible.tril() if causal else visible], dim=1)
    return _attended(*_maps(weights, head, layer, x, prefix), visible)


def _maps(weights: Weights, head: int, layer: int, x: Tensor, prefix: Prefix | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of the rows; keys and values of the prompts and the rows."""
    q, k, v = (_linear(weights, f"{name}.{head}.{layer}", x) for name in ("q", "k", "v"))
    if prefix is None:
        return q, k, v
    front_k = _linear(weights, f"k.{head}.{layer}", prefix.keys)
    front_v = _linear(weights, f"v.{head}.{layer}", prefix.values)
    return q, torch.cat([front_k, k], dim=1), torch.cat([front_v, v], dim=1)


def _attended(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
    return torch.softmax(scores.masked_fill(~visible, -torch.inf), dim=2) @ v


def hidden(shape: AttentiveShape, weights: Weights, encoded: Encoded, ages: Tensor) -> Tensor:
    """Hidden vectors (B, Q, heads·d) at ages (B, Q) after the last event."""
    clock = embed_times(encoded.last[:, None] + ages, shape.time_width).to(encoded.keys[0][0].dtype)
    found = []
    for head in range(shape.heads):
        u = torch.zeros(*ages.shape, shape.width, dtype=clock.dtype, device=clock.device)
        for layer in range(shape.layers):
            y = torch.cat([u, clock], dim=2)
            q, k, v = (_linear(weights, f"{name}.{head}.{layer}", y) for name in ("q", "k", "v"))
            scores = q @ encoded.keys[head][layer].transpose(1, 2) / math.sqrt(shape.width)
            scores = scores.masked_fill(~encoded.columns[:, None], -torch.inf)
            own = (q * k).sum(dim=2, keepdim=True) / math.sqrt(shape.width)
            share = torch.softmax(torch.cat([scores, own], dim=2), dim=2)
            seen = share[:, :, :-1] @ encoded.values[head][layer] + share[:, :, -1:] * v
            u = u + torch.tanh(seen)
        found.append(u)
    return torch.cat(found, dim=2)


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
