"""Hyper-parameters of the error memory, validated all at once."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from thalweg.memory.vectors.neighbours import NeighbourBackend
from thalweg.models.error_memory.ctr_network import ALIGN, NetworkKind
from thalweg.models.parts.half_life import HalfLifeSeconds
from thalweg.models.parts.settings import Count, NotNegative, Settings, Share, Whole, rule

VIEWS = ("user", "item", "key")
Rate = Annotated[float, Field(ge=1e-9)]


class Params(Settings):
    """Parameters of `error_memory`; docs/learners/error_memory.md has measurements of the defaults."""

    not_yet: ClassVar = {
        "search": 'on a GPU memories are searched with the model\'s device = "cuda" and search = "auto"'
    }

    # The slow model

    network: NetworkKind = "dcnv2"
    """The network: `dcnv2`, `deepfm` or `mlp`."""

    dim: Count = 16
    """Numbers per embedding."""

    hidden: str = "64-32"
    """Widths of the deep layers, multiples of 4; the last is the width of a memory's key."""

    cross_layers: Whole = 2
    """Cross layers of `dcnv2`."""

    number_weights: Literal["random", "zero"] = "random"
    """First weights of the input `numeric`: `random`, as published, or `zero`: a number has no effect before it was
    learned from, which is the default behind columns."""

    learning_rate: Rate = 1e-3
    """Learning rate of Adam, for the layers."""

    row_rate: Rate = 0.05
    """Learning rate of Adagrad, for embedding rows."""

    table_rows: Count = 100_000
    """Ids stored per field; the least recently seen loses its row."""

    train_batch: Count = 64
    """Events per step, whatever the micro-batches."""

    slot_events: Whole = 0
    """0: train as labels arrive. Else: one pass over this many events at once; then the memory is cleared, because its
    keys belong to another network, and warmed with the last `warm_events`, which wait for the next pass."""

    warm_events: Whole = 0
    """See `slot_events`; less than it."""

    distillation: Share = 0.0
    """With `slot_events`: weight of the distillation loss towards the previous network; 0 … 1."""

    freeze_after: Whole = 0
    """Freeze the network after this many events, so that only the memory learns; 0: never."""

    # The memory

    memory: Literal["neighbours", "sketch", "none"] = "neighbours"
    """`neighbours`: the latest entries; `sketch`: counts in buckets, constant size; `none`: no memory."""

    memory_bytes: int = 16_000_000
    """Memory budget of `neighbours`; it determines the number of entries."""

    ttl_seconds: NotNegative = 0.0
    """Maximum age of entries in event time; 0: no limit."""

    per_key: Whole = 0
    """Most entries per record key (the user's id if there is none); 0: no limit."""

    views: str = ""
    """The views of the memory: entries of the same `user`, of the same `item`, nearest by `key`; joined by +. Empty:
    `user+item`, but `key` with a sketch, which has no others, and with `combine` = `fixed`, as published."""

    view_events: Count = 128
    """Number of latest entries read per user or item."""

    view_prior: Rate = 5.0
    """Pseudo-entries without error per user or item: they reduce the weight of few entries."""

    neighbours: Count = 50
    """Number of nearest entries by key, k; with a sketch, one per array."""

    temperature: Rate = 0.1
    """Temperature of the softmax over similarities, τ."""

    search: Literal[NeighbourBackend, "cells"] = "auto"
    """Nearest-neighbour search: `auto`, `faiss`, `numpy` or `torch`, with the same result; with a GPU as the model's
    device `auto` searches there. `cells`: only entries in the `probes` nearest of `cells` cells; approximate, faster in
    a large memory."""

    cells: Count = 256
    """For `search` = `cells`: number of cells; their centroids are learned from the first `centre_events` keys."""

    probes: Count = 16
    """For `search` = `cells`: cells searched per prediction."""

    centre_events: Count = 1000
    """Keys are centred by the mean of the first this many, and used from then on; without it, ReLU layers make all keys
    similar."""

    sketch_arrays: Count = 20
    """Arrays of the sketch, K."""

    sketch_bits: Annotated[int, Field(ge=1, le=20)] = 10
    """Bits per hash, L."""

    sketch_events: Whole = 0
    """Events per generation of the sketch: the older of two is cleared; 0: never."""

    half_life_seconds: HalfLifeSeconds = 0.0
    """Half-life of the sketch's content in event time; 0: equal weights."""

    # How the memory corrects

    combine: Literal["learned", "fixed"] = "learned"
    """`learned`: logistic regression of the label on the base score and the features of the views, learned from labels.
    `fixed`: base + strength · (γ (ȳ - base) + (1 - γ)(ȳ - ȳ_base)) by the key view, as published."""

    gamma: Share = 1.0
    """γ of `fixed`: 1 moves towards the neighbours' labels, 0 adds their mean error."""

    strength: Annotated[float, Field(ge=0, le=10)] = 0.3
    """λ of `fixed`."""

    combine_memory: Rate = 4_000.0
    """For `learned`: events after which old events have weight 1/e."""

    combine_prior: Rate = 10.0
    """For `learned`: prior weight of the base score alone."""

    turn_events: Whole = 250
    """For `learned` with an item view: after so many labels, hypotheses are opened that a share of the items has turned
    to the opposite. 0: none."""

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """`hidden` as numbers."""
        return tuple(int(width) for width in self.hidden.split("-"))

    @property
    def view_names(self) -> tuple[str, ...]:
        """`views` in the order of their features."""
        by_key = self.memory == "sketch" or self.combine == "fixed"
        given = (self.views or ("key" if by_key else "user+item")).split("+")
        return () if self.memory == "none" else tuple(name for name in VIEWS if name in given)

    @property
    def turns(self) -> bool:
        """Whether hypotheses of a turn are held."""
        return bool(self.turn_events) and self.combine == "learned" and "item" in self.view_names

    @property
    def step_events(self) -> int:
        """Events that wait for training."""
        return self.slot_events or self.train_batch

    @rule("hidden")
    def _widths_are_aligned(self) -> str | None:
        widths = self.hidden.split("-")
        sound = all(width.isdecimal() and int(width) > 0 and int(width) % ALIGN == 0 for width in widths)
        return None if sound else f"expected multiples of {ALIGN} joined by -, as in 64-32, got {self.hidden!r}"

    @rule("cells", "search", "centre_events")
    def _cells_are_learned_of_enough_keys(self) -> str | None:
        most = self.centre_events if self.search == "cells" else 65_536
        return None if self.cells <= most else f"expected at most {most}, got {self.cells}"

    @rule("views")
    def _views_are_known(self) -> str | None:
        given = self.views.split("+") if self.views else []
        sound = len(set(given)) == len(given) and set(given) <= set(VIEWS)
        return None if sound else f"expected some of {', '.join(VIEWS)} joined by +, got {self.views!r}"

    @rule("views", "combine", "memory")
    def _views_are_there(self) -> str | None:
        given = set(self.views.split("+")) if self.views else set()
        if given and self.combine == "fixed" and "key" not in given:
            return f"expected key among them with combine = fixed, got {self.views!r}"
        if given and self.memory == "sketch" and given != {"key"}:
            return f"expected key alone with memory = sketch, got {self.views!r}"
        return None

    @rule("warm_events", "slot_events")
    def _warmed_with_part_of_a_slot(self) -> str | None:
        sound = not self.slot_events or self.warm_events < self.slot_events
        return None if sound else f"expected fewer than slot_events, {self.slot_events}, got {self.warm_events}"

    @rule("table_rows", "train_batch")
    def _a_batch_fits_the_table(self) -> str | None:
        sound = self.table_rows >= self.train_batch
        return None if sound else f"expected train_batch, {self.train_batch}, or more, got {self.table_rows}"
