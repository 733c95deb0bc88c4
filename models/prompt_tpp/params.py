"""Hyper-parameters of the prompted point process, validated all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.reading import read_params, within
from thalweg.models.prompt_tpp.network import BASES, HEADS, TppShape

MODES = ("joint", "prompts_only", "freeze_backbone")
SCOPES = ("shared", "per_layer")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything that can be set on `prompt_tpp`; docs/learners/prompt_tpp.md has what the defaults measured."""

    base: str = "nhp"
    """What encodes a history: `nhp`, a continuous-time LSTM, or `attentive`."""

    head: str = "mixture"
    """How what comes next is told: `mixture` of log-normal gaps, or `intensity` as published."""

    width: int = 32
    """Of embeddings and hidden vectors; a multiple of 4."""

    time_width: int = 16
    """Of time embeddings; a multiple of 4."""

    layers: int = 2
    """Of `attentive`."""

    heads: int = 2
    """Of `attentive`."""

    components: int = 4
    """Log-normals in the mixture."""

    nodes: int = 20
    """Of the integral over a gap, with `intensity`."""

    prompts: int = 10
    """In the pool, M; 0: none."""

    chosen: int = 5
    """Prompts retrieved for each history, N."""

    prompt_rows: int = 5
    """Rows per prompt, Lp."""

    pool_scope: str = "shared"
    """One pool for all, or `per_layer`: one per head and layer, for keys and for values."""

    key_loss: float = 0.1
    """Weight of the loss that draws prompts' keys to the histories that chose them, α."""

    reseed_events: int = 10_000
    """A prompt that nobody chose for so long gets the latest history's query as its key; 0: never."""

    window: int = 50
    """Events kept per key."""

    keys: int = 100_000
    """Keys kept; the longest silent goes, and its silence is learned."""

    time_to_live: float = 0.0
    """Seconds of silence, by the events' clock, after which a key goes; 0: none goes for that."""

    silence_after: float = 100.0
    """Time units of silence after which a key's silence is learned, and again after as many more; 0: only when the key
    goes."""

    max_types: int = 64
    """Events of further types are passed over and counted."""

    markov_memory: float = 200.0
    """Of the Markov table that type probabilities start from: uses of a row after which it forgets to 1/e."""

    unit_gaps: int = 200
    """The time unit is the median of so many first gaps, for good; until then events wait."""

    horizon: float = 20.0
    """How far a forecast looks, in mean gaps."""

    forecast_nodes: int = 60
    """Of a forecast."""

    learning_rate: float = 3e-3
    """Adam's."""

    train_batch: int = 64
    """Events per step, however they came."""

    clip: float = 1.0
    """Largest norm of a step's gradient."""

    mode: str = "joint"
    """What learns: everything, `prompts_only`, or with `freeze_backbone` prompts and head."""

    warm_events: int = 0
    """So many events are learned jointly before another `mode` begins."""

    backbone_every: int = 1
    """Encoder and head move at every so many steps, prompts at each."""

    @property
    def shape(self) -> TppShape:
        """Of the network."""
        return TppShape(
            base=self.base,
            head=self.head,
            types=self.max_types,
            width=self.width,
            time_width=self.time_width,
            layers=self.layers,
            heads=self.heads,
            components=self.components,
            prompts=self.prompts,
            chosen=self.chosen,
            prompt_rows=self.prompt_rows,
            shared_pool=self.pool_scope == "shared",
            nodes=self.nodes,
        )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Params:
        """From a configuration table. Raises `ParamsError` with all mistakes at once."""
        params = cls(**read_params(cls, given))
        found: dict[str, str] = {}
        for key, choices in (("base", BASES), ("head", HEADS), ("mode", MODES), ("pool_scope", SCOPES)):
            if getattr(params, key) not in choices:
                found[key] = f"expected one of {', '.join(choices)}, got {getattr(params, key)!r}"
        for key in ("width", "time_width"):
            if getattr(params, key) < 4 or getattr(params, key) % 4:
                found[key] = f"expected a multiple of 4, got {getattr(params, key)}"
        for key in ("layers", "heads", "components", "prompt_rows", "window", "keys", "unit_gaps", "train_batch"):
            within(found, key, getattr(params, key), 1)
        for key in ("prompts", "key_loss", "warm_events", "reseed_events", "time_to_live", "silence_after"):
            within(found, key, getattr(params, key), 0)
        for key in ("nodes", "forecast_nodes"):
            within(found, key, getattr(params, key), 2)
        for key in ("learning_rate", "clip", "horizon"):
            within(found, key, getattr(params, key), 1e-9)
        within(found, "backbone_every", params.backbone_every, 1)
        within(found, "markov_memory", params.markov_memory, 1)
        within(found, "max_types", params.max_types, 1, 10_000)
        if params.prompts:
            within(found, "chosen", params.chosen, 1, params.prompts)
        elif params.mode == "prompts_only":
            found["mode"] = "expected prompts to learn, got a pool of 0"
        if found:
            raise ParamsError(found)
        return params
