"""Hyper-parameters of the error memory, validated all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.memory.vectors.neighbours import BACKENDS
from thalweg.models.contract.learner import ParamsError
from thalweg.models.error_memory.ctr_network import ALIGN, NETWORKS
from thalweg.models.parts.reading import read_params, within

MEMORIES = ("neighbours", "sketch", "none")
COMBINES = ("learned", "fixed")
VIEWS = ("user", "item", "key")
SEARCHES = (*BACKENDS, "cells")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything that can be set on `error_memory`; docs/learners/error_memory.md has what the defaults measured."""

    # The slow model

    network: str = "dcnv2"
    """`dcnv2`, `deepfm` or `mlp`."""

    dim: int = 16
    """Numbers per embedding."""

    hidden: str = "64-32"
    """Widths of the deep layers, multiples of 4; the last is the width of a memory's key."""

    cross_layers: int = 2
    """Of `dcnv2`."""

    learning_rate: float = 1e-3
    """Adam's, for the layers."""

    row_rate: float = 0.05
    """Adagrad's, for embedding rows."""

    table_rows: int = 100_000
    """Ids kept per field; the longest unseen loses its row."""

    train_batch: int = 64
    """Events per step, however they came."""

    slot_events: int = 0
    """0: train as labels come. Else: one pass over so many events at once, then the memory is emptied, because its keys
    are of another network, and warmed with the last `warm_events`, which wait for the next pass."""

    warm_events: int = 0
    """See `slot_events`; fewer than it."""

    distillation: float = 0.0
    """With `slot_events`: share of the loss that holds the new network to the answers of the one before; 0 … 1."""

    freeze_after: int = 0
    """The network learns no more after so many events, only the memory does; 0: never."""

    # The memory

    memory: str = "neighbours"
    """`neighbours`: the latest entries, whole; `sketch`: counts in buckets, constant size; `none`: no memory."""

    memory_bytes: int = 16_000_000
    """Budget of `neighbours`: how many entries are kept follows from it."""

    ttl_seconds: float = 0.0
    """Entries older than this, in event time, go; 0: no matter how old."""

    per_key: int = 0
    """At most so many entries under one record key (the user's id where there is none); 0: any number."""

    views: str = ""
    """What is read of the memory: the `user`'s own entries, the `item`'s own, the nearest by `key`; joined by +.
    Empty: `user+item`, but `key` with a sketch, which knows neither, and with `combine` = `fixed`, as published."""

    view_events: int = 128
    """The latest entries of a user or item that are read."""

    view_prior: float = 5.0
    """Entries that a user or item is thought to have had without error: few true ones count little."""

    neighbours: int = 50
    """The nearest by key, k; with a sketch every array gives one."""

    temperature: float = 0.1
    """Of the softmax over similarities, τ."""

    search: str = "auto"
    """How the nearest are found: `auto`, `faiss`, `faiss_gpu`, `numpy` or `torch`; the same come out. `cells`: only
    among entries around the query, of `cells` cells the `probes` nearest; approximate, sooner in a large memory."""

    cells: int = 256
    """Of `search` = `cells`: how many; their middles are learned of the first `centre_events` keys."""

    probes: int = 16
    """Of `search` = `cells`: looked through at each answer."""

    centre_events: int = 1000
    """Keys are centred by the mean of the first so many, then written and read; ReLU layers make all alike without."""

    sketch_arrays: int = 20
    """Arrays of the sketch, K."""

    sketch_bits: int = 10
    """Bits per hash, L."""

    sketch_events: int = 0
    """Events per generation of the sketch: the older of two is cleared; 0: never."""

    half_life_seconds: float = 0.0
    """Of what is in the sketch, in event time; 0: all counts alike."""

    # How the memory corrects

    combine: str = "learned"
    """`learned`: logistic regression of the label on the base score and what the views say, learned as labels come.
    `fixed`: base + strength · (γ (ȳ - base) + (1 - γ)(ȳ - ȳ_base)) by the key view, as published."""

    gamma: float = 1.0
    """Of `fixed`, γ: 1 moves towards the neighbours' labels, 0 adds their mean error."""

    strength: float = 0.3
    """Of `fixed`, λ."""

    combine_memory: float = 2_000.0
    """Of `learned`: events after which what it learned counts 1/e."""

    combine_prior: float = 10.0
    """Of `learned`: how strongly it starts from the base score alone."""

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
    def step_events(self) -> int:
        """Events that wait until they are trained on."""
        return self.slot_events or self.train_batch

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Params:
        """From a configuration table. Raises `ParamsError` with all mistakes at once."""
        params = cls(**read_params(cls, given))
        if found := params._mistakes():
            raise ParamsError(found)
        return params

    def _mistakes(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, choices in (("network", NETWORKS), ("memory", MEMORIES), ("combine", COMBINES), ("search", SEARCHES)):
            if getattr(self, key) not in choices:
                found[key] = f"expected one of {', '.join(choices)}, got {getattr(self, key)!r}"
        for key in (
            "dim",
            "table_rows",
            "train_batch",
            "view_events",
            "neighbours",
            "centre_events",
            "sketch_arrays",
            "probes",
        ):
            within(found, key, getattr(self, key), 1)
        for key in ("cross_layers", "slot_events", "warm_events", "freeze_after", "per_key", "sketch_events"):
            within(found, key, getattr(self, key), 0)
        for key in ("learning_rate", "row_rate", "temperature", "view_prior", "combine_memory", "combine_prior"):
            within(found, key, getattr(self, key), 1e-9)
        for key in ("ttl_seconds", "half_life_seconds"):
            within(found, key, getattr(self, key), 0)
        within(found, "cells", self.cells, 1, self.centre_events if self.search == "cells" else 65_536)
        within(found, "sketch_bits", self.sketch_bits, 1, 20)
        within(found, "distillation", self.distillation, 0, 1)
        within(found, "gamma", self.gamma, 0, 1)
        within(found, "strength", self.strength, 0, 10)
        if not all(width.isdecimal() and int(width) > 0 and not int(width) % ALIGN for width in self.hidden.split("-")):
            found["hidden"] = f"expected multiples of {ALIGN} joined by -, as in 64-32, got {self.hidden!r}"
        given = self.views.split("+") if self.views else []
        if len(set(given)) < len(given) or not set(given) <= set(VIEWS):
            found["views"] = f"expected some of {', '.join(VIEWS)} joined by +, got {self.views!r}"
        elif given and self.combine == "fixed" and "key" not in given:
            found["views"] = f"expected key among them with combine = fixed, got {self.views!r}"
        elif given and self.memory == "sketch" and set(given) != {"key"}:
            found["views"] = f"expected key alone with memory = sketch, got {self.views!r}"
        if self.slot_events and self.warm_events >= self.slot_events:
            found["warm_events"] = f"expected fewer than slot_events, {self.slot_events}, got {self.warm_events}"
        if self.table_rows < self.train_batch:
            found["table_rows"] = f"expected train_batch, {self.train_batch}, or more, got {self.table_rows}"
        return found
