"""A neural temporal point process with a prompt pool: from a history to the next event.

A history is encoded by NHP (`nhp.py`) or attention (`attentive.py`); prompts retrieved for it
enter as a shift of NHP's gates or as a prefix. One of two heads predicts the next event:

- `intensity`, as published: rates per type at any age, likelihood by the trapezoid rule;
- `mixture`: probabilities of types, and of the gap given the type a mixture of log-normals (`next_event.py`). Type
  logits start from those of the learner's Markov table with forgetting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from thalweg.memory.devices.device import Device
from thalweg.models.parts.torch_setup import Tensor, functional, torch
from thalweg.models.prompt_tpp import attentive, nhp, prompt_pool
from thalweg.models.prompt_tpp.attentive import AttentiveShape, Prefix
from thalweg.models.prompt_tpp.next_event import WIDEST, NextEvent
from thalweg.models.prompt_tpp.nhp import CellState
from thalweg.models.prompt_tpp.process import EPSILON, Forecast, forecast, interval, nodes
from thalweg.proto.schema import Array

Weights = Mapping[str, Tensor]
Base: TypeAlias = Literal["nhp", "attentive"]
Head: TypeAlias = Literal["mixture", "intensity"]
TILE = 8
"""Rows computed at a time in prediction are a multiple of this: a row's bits do not depend on the others."""
POOL = "pool."
"""Prefix of the names of the prompts' weights."""
UNKNOWN = -1e9
"""In place of the log-probability of a type not seen yet."""
_SHORT_GAP = math.exp(-6.0)


@dataclass(frozen=True, slots=True)
class TppShape:
    """The architecture of a network."""

    base: Base
    head: Head
    types: int
    """Maximum number of types."""
    width: int
    """Of embeddings and hidden vectors; a multiple of 4."""
    time_width: int
    layers: int
    heads: int
    components: int
    """Of the mixture."""
    prompts: int
    """Prompts in the pool, M; 0: no pool."""
    chosen: int
    """Prompts per history, N."""
    prompt_rows: int
    """Rows per prompt, Lp."""
    shared_pool: bool
    """One pool for all; else one per head, layer, and keys or values. NHP has one in any case."""
    nodes: int
    """Of the integral over a gap, G."""

    @property
    def attentive(self) -> AttentiveShape:
        """Of the attentive base."""
        return AttentiveShape(self.width, self.time_width, self.layers, self.heads)

    @property
    def hidden(self) -> int:
        """Numbers of a hidden vector."""
        return self.width * (self.heads if self.base == "attentive" else 1)

    @property
    def pools(self) -> list[str]:
        """Names of the pools."""
        if not self.prompts:
            return []
        if self.shared_pool or self.base == "nhp":
            return ["all"]
        return [f"{kind}.{head}.{layer}" for head in range(self.heads) for layer in range(self.layers) for kind in "kv"]


def draw_weights(shape: TppShape, seed: int) -> dict[str, Array]:
    """First weights, the same for the same seed."""
    generator = np.random.Generator(np.random.PCG64([seed, 0x747070]))
    weights: dict[str, Array] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        bound = columns**-0.5
        weights[f"{name}.weight"] = generator.uniform(-bound, bound, (rows, columns)).astype(np.float32)
        weights[f"{name}.bias"] = generator.uniform(-bound, bound, rows).astype(np.float32)

    d, dt = shape.width, shape.time_width
    weights["emb"] = generator.standard_normal((shape.types, d)).astype(np.float32)
    linear("gap", d, 4)
    if shape.base == "nhp":
        linear("cell", 7 * d, 2 * d)
    else:
        for head in range(shape.heads):
            for layer in range(shape.layers):
                for name in "qkv":
                    linear(f"{name}.{head}.{layer}", d, d + dt)
    if shape.head == "intensity":
        linear("head", shape.types, shape.hidden)
        weights["log_beta"] = np.zeros(shape.types, np.float32)
    else:
        m = shape.components
        weights["type.weight"] = np.zeros((shape.types, shape.hidden), np.float32)
        weights["type.bias"] = np.zeros(shape.types, np.float32)
        weights["markov"] = np.ones(1, np.float32)
        weights["mixture.weight"] = np.zeros((3 * m, shape.hidden), np.float32)
        middles = np.linspace(-3.0, 1.0, m)
        weights["mixture.bias"] = np.concatenate([np.zeros(m), middles, np.zeros(m)]).astype(np.float32)
        weights["mixture.type"] = np.zeros((shape.types, 3 * m), np.float32)
    for pool in shape.pools:
        weights[f"{POOL}{pool}.keys"] = generator.uniform(-1, 1, (shape.prompts, d)).astype(np.float32)
        content = generator.uniform(-1, 1, (shape.prompts, shape.prompt_rows, d))
        weights[f"{POOL}{pool}.content"] = content.astype(np.float32)
    if shape.base == "nhp" and shape.prompts:
        weights[f"{POOL}map.weight"] = np.zeros((7 * d, d + dt), np.float32)
        weights[f"{POOL}map.bias"] = np.zeros(7 * d, np.float32)
    return weights


class Past(NamedTuple):
    """Histories in the model's unit."""

    ages: Tensor
    """(B, W) float64: times from the oldest event on, ascending."""
    types: Tensor
    """(B, W) int64."""
    lengths: Tensor
    """(B,) int64, 1 or more."""
    markov: Tensor
    """Log-probabilities (B, K) of the next type by the Markov table; UNKNOWN for types not seen yet."""
    longest: int | None = None
    """The largest of the lengths, where these are not with the processor."""

    @classmethod
    def of(cls, times: Array, types: Array, lengths: Array, markov: Array, unit: float) -> Past:
        """From times on any clock; values beyond a row's length are padded."""
        there = np.arange(times.shape[1]) < lengths[:, None]
        ages = np.where(there, times - times[:, :1], 0.0) / unit
        kinds = np.where(there, types, 0).astype(np.int64)
        found = [torch.from_numpy(np.ascontiguousarray(a)) for a in (ages, kinds, lengths, markov)]
        return cls(found[0], found[1], found[2], found[3])

    def on(self, device: Device) -> Past:
        """The same there."""
        if device.is_processor:
            return self
        ages, types, lengths, markov = (device.put(one.numpy()) for one in self[:4])
        return Past(ages, types, lengths, markov, int(self.lengths.max()))


class Ready(NamedTuple):
    """Encoded histories, for prediction of the next event."""

    shape: TppShape
    weights: Weights
    past: Past
    state: CellState | attentive.Encoded
    similarity: Tensor
    """Similarities of the selected prompts, (B, pools · N)."""
    chosen: dict[str, Tensor]
    """Indices of the prompts by pool, (B, N)."""
    query: Tensor
    """The queries that selected them, (B, d)."""

    def hidden(self, ages: Tensor) -> Tensor:
        """(B, Q, hidden) at ages (B, Q) after the last event."""
        if isinstance(self.state, CellState):
            return self.state.hidden(ages.to(self.state.cell.dtype))
        return attentive.hidden(self.shape.attentive, self.weights, self.state, ages)

    def rates(self, ages: Tensor) -> Tensor:
        """Intensities (B, Q, K) at ages (B, Q); 0 for types not seen yet."""
        if self.shape.head == "mixture":
            return self.mixture().rates(ages)
        known = (self.past.markov > UNKNOWN)[:, None]
        return torch.where(known, nhp.rates(self.weights, self.hidden(ages)), 0.0)

    def mixture(self) -> NextEvent:
        """The next event in closed form, by the head `mixture`."""
        now = torch.zeros(len(self.past.lengths), 1, dtype=torch.float64, device=self.past.ages.device)
        last = self.hidden(now)[:, 0]
        raw = functional.linear(last, self.weights["type.weight"], self.weights["type.bias"])
        met = self.past.markov > UNKNOWN
        raw = raw + self.weights["markov"] * torch.where(met, self.past.markov, 0.0)
        types = torch.log_softmax(raw.masked_fill(~met, -torch.inf), dim=1)
        shared = functional.linear(last, self.weights["mixture.weight"], self.weights["mixture.bias"])
        parts = shared[:, None] + self.weights["mixture.type"]
        logits, means, spreads = parts.view(*parts.shape[:2], 3, -1).unbind(dim=2)
        return NextEvent(types, torch.stack([logits, means, spreads.clamp(-WIDEST, WIDEST)], dim=2))

    def log_likelihood(self, gaps: Tensor, types: Tensor) -> Tensor:
        """Log-likelihood of events of types (B,) after gaps (B,); type -1: of no event until then."""
        if self.shape.head == "mixture":
            return self.mixture().log_likelihood(gaps, types)
        censored, kinds = types < 0, types.clamp(min=0)
        terms = interval(self.rates, gaps, kinds, self.shape.nodes)
        return torch.where(censored, 0.0, terms.event) - terms.compensator

    def any_log_likelihood(self, gaps: Tensor) -> Tensor:
        """Log-density (B,) of gaps (B,), whatever the type."""
        if self.shape.head == "mixture":
            return self.mixture().any_log_likelihood(gaps)
        return torch.log(self.rates(gaps[:, None]).sum(dim=2)[:, 0] + EPSILON) - self.hazard(gaps)

    def hazard(self, gaps: Tensor) -> Tensor:
        """∫ λ over gaps (B,): unit exponential if the model is correct (time rescaling)."""
        if self.shape.head == "mixture":
            return self.mixture().hazard(gaps)
        rates = self.rates(nodes(gaps, self.shape.nodes)).sum(dim=2)
        return torch.trapezoid(rates, dim=1) * gaps / (self.shape.nodes - 1)

    def forecast(self, horizon: Tensor, count: int) -> Forecast:
        """The next event within the horizon (B,), on this many nodes."""
        if self.shape.head == "mixture":
            return self.mixture().forecast(horizon, count)
        return forecast(self.rates, horizon, count)


def prepare(shape: TppShape, weights: Weights, past: Past) -> Ready:
    """Encode histories."""
    there = torch.arange(past.ages.shape[1], device=past.ages.device) < past.lengths[:, None]
    gaps = torch.where(there, torch.diff(past.ages, dim=1, prepend=past.ages[:, :1]), 0.0)  # ascending
    steps = _gap_features(weights, gaps)
    kinds = torch.tanh(weights["emb"][past.types]) + steps
    query = (kinds * there[:, :, None]).sum(dim=1) / past.lengths[:, None]
    last = past.ages.gather(1, past.lengths[:, None] - 1)[:, 0]
    mean_gap = last / (past.lengths - 1).clamp(min=1)
    expected = attentive.embed_times(last + mean_gap, shape.time_width).to(kinds.dtype)
    chosen = {pool: prompt_pool.choose(weights[f"{POOL}{pool}.keys"], query, shape.chosen) for pool in shape.pools}
    rows = {
        pool: prompt_pool.rows(weights[f"{POOL}{pool}.content"], one.places, expected) for pool, one in chosen.items()
    }
    similarity = torch.cat([one.similarity for one in chosen.values()], dim=1) if chosen else query[:, :0]
    places = {pool: one.places for pool, one in chosen.items()}
    state: CellState | attentive.Encoded
    if shape.base == "nhp":
        shift = None
        if rows:
            shift = functional.linear(rows["all"].mean(dim=1), weights[f"{POOL}map.weight"], weights[f"{POOL}map.bias"])
        longest = int(past.lengths.max()) if past.longest is None else past.longest
        state = _run(weights, kinds, gaps.to(kinds.dtype), there, longest, shift)
    else:
        state = attentive.encode(
            shape.attentive, weights, past.ages, past.types, past.lengths, _prefixes(shape, rows), steps
        )
    return Ready(shape, weights, past, state, similarity, places, query)


def _gap_features(weights: Weights, gaps: Tensor) -> Tensor:
    """What the gap before an event adds to its embedding, (B, W, d)."""
    small = gaps.clamp(min=1e-9)
    logs = torch.log(small)
    short, long = (small < _SHORT_GAP).to(logs.dtype), torch.tanh(small)
    features = torch.stack([logs / 4.0, short, long, long * long], dim=2)
    return functional.linear(features.to(weights["gap.weight"].dtype), weights["gap.weight"], weights["gap.bias"])


def _run(weights: Weights, kinds: Tensor, gaps: Tensor, there: Tensor, longest: int, shift: Tensor | None) -> CellState:
    state = CellState.zero(len(kinds), kinds.shape[2], kinds)
    for at in range(longest):
        following = nhp.advance_embedded(weights, state, gaps[:, at], kinds[:, at], shift)
        here = there[:, at, None]
        state = CellState(*(torch.where(here, new, old) for new, old in zip(following, state)))
    return state


def _prefixes(shape: TppShape, rows: Mapping[str, Tensor]) -> dict[tuple[int, int], Prefix]:
    if not rows:
        return {}
    places = [(head, layer) for head in range(shape.heads) for layer in range(shape.layers)]
    if shape.shared_pool:
        return {place: Prefix(rows["all"], rows["all"]) for place in places}
    return {(head, layer): Prefix(rows[f"k.{head}.{layer}"], rows[f"v.{head}.{layer}"]) for head, layer in places}


def answer_rows(count: int) -> int:
    """Number of rows to compute for this many requested ones."""
    return max(1, -(-count // TILE)) * TILE
