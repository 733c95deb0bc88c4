"""Hyper-parameters of the prompted point process, validated all at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from thalweg.models.parts.settings import Count, NotNegative, Settings, Whole, rule
from thalweg.models.prompt_tpp.network import Base, Head, TppShape

Expert = Literal["closed_form", "closed_form_fast", "closed_form_key", "nhp", "attentive"]
EXPERTS: tuple[Expert, ...] = ("closed_form", "closed_form_fast", "closed_form_key", "nhp", "attentive")
_NETWORKS: tuple[Base, ...] = ("nhp", "attentive")

Width = Annotated[int, Field(ge=4, multiple_of=4)]
Nodes = Annotated[int, Field(ge=2)]
AboveZero = Annotated[float, Field(ge=1e-9)]


class Params(Settings):
    """Parameters of `prompt_tpp`; docs/learners/prompt_tpp.md has measurements of the defaults."""

    base: Literal["experts", "nhp", "attentive"] = "experts"
    """What predicts: `experts`, several mixed by weights learned online, or one network alone: `nhp`, a continuous-time
    LSTM, or `attentive`."""

    experts: Annotated[list[Expert], Field(min_length=1)] = list(EXPERTS)  # noqa: RUF012 - pydantic copies it
    """Which, with `base = "experts"`: `closed_form` counts, `closed_form_fast` forgets sooner, `closed_form_key` counts
    each key's own window too; `nhp` and `attentive` are networks. One that is left out costs nothing."""

    expert_rate: Annotated[float, Field(gt=0, le=1)] = 0.3
    """How fast the experts' weights move, η: 1 is Bayes' rule, which believes in one expert; less finds a mixture."""

    expert_share: Annotated[float, Field(ge=0, le=0.5)] = 3e-4
    """Weight that is spread evenly over the experts after each event, α: an expert that was worse for long can come
    back; 0: never."""

    answer_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    """How fast the weights of `next_type` follow who is wrong least often, nats per wrong type; 0: `next_type` is the
    most likely of `type_scores`."""

    prompted: list[Base] = ["attentive"]  # noqa: RUF012 - pydantic copies it
    """The networks among the experts that have prompts; a single base has them in any case."""

    head: Head = "mixture"
    """The output head of a network: `mixture` of log-normal gaps, or `intensity` as published, which one network alone
    has: `nhp` unless `base` names the other."""

    width: Width = 32
    """Width of embeddings and hidden vectors; a multiple of 4."""

    time_width: Width = 16
    """Width of time embeddings; a multiple of 4."""

    layers: Count = 2
    """Layers of `attentive`."""

    heads: Count = 2
    """Attention heads of `attentive`."""

    components: Count = 4
    """Log-normals in the mixture."""

    nodes: Nodes = 20
    """Quadrature nodes of the integral over a gap, with `intensity`."""

    prompts: Whole = 10
    """Prompts in the pool, M; 0: none."""

    chosen: Whole = 5
    """Prompts retrieved for each history, N."""

    prompt_rows: Count = 5
    """Rows per prompt, Lp."""

    pool_scope: Literal["shared", "per_layer"] = "shared"
    """One pool for all, or `per_layer`: one per head and layer, for keys and for values."""

    key_loss: NotNegative = 0.1
    """Weight of the loss that pulls prompts' keys towards the histories that selected them, α."""

    reseed_events: Whole = 10_000
    """A prompt not selected for this many events gets the latest history's query as its key; 0: never."""

    window: Count = 50
    """Events stored per key."""

    keys: Count = 100_000
    """Keys stored; the one silent for longest is evicted, and its silence is learned."""

    time_to_live: NotNegative = 0.0
    """Seconds of silence, on the events' clock, after which a key is removed; 0: never."""

    silence_after: NotNegative = 100.0
    """Time units of silence after which a key's silence is learned, and again after as many more; 0: only when the key
    is removed."""

    max_types: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Events of further types are skipped and counted."""

    markov_memory: Annotated[float, Field(ge=1)] = 200.0
    """Forgetting of the Markov table that type probabilities start from: uses of a row after which it decays to 1/e."""

    fast_memory: Annotated[float, Field(ge=1)] = 30.0
    """The same of the expert `closed_form_fast`."""

    unit_gaps: Count = 200
    """The time unit is the median of this many first gaps; until then events wait."""

    horizon: AboveZero = 20.0
    """Horizon of a forecast, in mean gaps."""

    forecast_nodes: Nodes = 60
    """Quadrature nodes of a forecast."""

    ahead: Annotated[int, Field(ge=0, le=100)] = 0
    """Events predicted for each request, one after the other, as the outputs `next_times` and `next_types`; 0: only the
    next one. Each costs as much as the first."""

    learning_rate: AboveZero = 3e-3
    """Learning rate of Adam."""

    train_batch: Count = 64
    """Events per step, whatever the micro-batches."""

    clip: AboveZero = 1.0
    """Largest gradient norm of a step."""

    mode: Literal["joint", "prompts_only", "freeze_backbone"] = "joint"
    """What learns: everything, `prompts_only`, or prompts and head with `freeze_backbone`."""

    warm_events: Whole = 0
    """Events learned jointly before another `mode` starts."""

    backbone_every: Count = 1
    """Encoder and head are updated every this many steps, prompts at every step."""

    @property
    def alone(self) -> Base | None:
        """The network that is no expert among others; None for experts."""
        if self.base == "experts":
            return "nhp" if self.head == "intensity" else None
        return self.base

    @property
    def members(self) -> tuple[Expert, ...]:
        """The experts, in order; a single base is the only one."""
        return tuple(self.experts) if self.alone is None else (self.alone,)

    @property
    def networks(self) -> tuple[Base, ...]:
        """Those of the members that are networks."""
        return tuple(name for name in _NETWORKS if name in self.members)

    @property
    def memories(self) -> dict[str, float]:
        """Those of the members that count: uses of a row after which it decays to 1/e."""
        slow, fast = self.markov_memory, self.fast_memory
        found = {"closed_form": slow, "closed_form_fast": fast, "closed_form_key": slow}
        return {name: memory for name, memory in found.items() if name in self.members}

    def shape(self, base: Base) -> TppShape:
        """The shape of a network."""
        return TppShape(
            base=base,
            head=self.head,
            types=self.max_types,
            width=self.width,
            time_width=self.time_width,
            layers=self.layers,
            heads=self.heads,
            components=self.components,
            prompts=self.prompts if self.alone == base or base in self.prompted else 0,
            chosen=self.chosen,
            prompt_rows=self.prompt_rows,
            shared_pool=self.pool_scope == "shared",
            nodes=self.nodes,
        )

    @rule("experts")
    def _experts_are_distinct(self) -> str | None:
        return None if len(set(self.experts)) == len(self.experts) else f"expected each once, got {self.experts}"

    @rule("chosen", "prompts")
    def _chosen_are_of_the_pool(self) -> str | None:
        sound = not self.prompts or 1 <= self.chosen <= self.prompts
        return None if sound else f"expected 1 to {self.prompts}, the pool's size, got {self.chosen}"

    @rule("mode", "prompts")
    def _prompts_alone_need_some(self) -> str | None:
        sound = self.prompts or self.mode != "prompts_only"
        return None if sound else "expected prompts to learn, got a pool of 0"
