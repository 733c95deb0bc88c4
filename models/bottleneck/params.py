"""Hyper-parameters of the key-value bottleneck, validated all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.memory.vectors.key_tables import BACKENDS
from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.reading import read_params, within

UPDATES = ("event", "micro_batch")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything that can be set on `bottleneck`; the defaults are those measured in docs/learners/bottleneck.md."""

    heads: int = 64
    """Codebooks C. More votes, smoother answers; cost and memory grow with them."""

    pairs: int = 256
    """Key-value pairs per head, M."""

    key_width: int = 12
    """Numbers per key, d: each head sees the input through a random projection to so many."""

    key_file: str = ""
    """A `.npy` file (N, F) of unlabelled inputs to learn the keys from, before anything else. Empty: from the stream's
    own first `key_events`. What the keys have never seen, they tell apart badly: take inputs of every kind."""

    key_events: int = 1000
    """Without a `key_file`: the keys are learned once so many events came; until then they wait (and are in every
    snapshot), and nothing is answered. Labelled ones among them are then learned, in order."""

    key_steps: int = 600
    """Steps of key learning; after them the keys are frozen for good."""

    key_batch: int = 256
    """Samples per step of key learning."""

    dead_factor: float = 0.1
    """A key that attracts less than this share of an even spread is put somewhere else after each step; 0: never."""

    standardise: bool = True
    """Scale inputs by mean and deviation of what the keys were learned from, frozen with the keys."""

    rate: float = 2.0
    """How far one event moves its own logits towards its label; the learning rate of the values is `rate` · heads."""

    label_smoothing: float = 0.0
    """Share of the label spread evenly over the classes known; 0 … below 1. Any biases probabilities towards even."""

    updates: str = "event"
    """`event`: one step an event, in order, whatever the micro-batch. `micro_batch`: one step with the mean gradient,
    as published; quicker, with smaller steps."""

    top_k: int = 1
    """Nearest keys per head that vote."""

    mask_unfetched: bool = True
    """Answer from the nearest key that learning has fetched before, rather than from an empty one nearer by."""

    search: str = "auto"
    """`faiss`, `numpy`, or `auto`: whichever is quicker at the size at hand. The neighbours are the same."""

    max_classes: int = 1000
    """Events of further classes are passed over and counted."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Params:
        """Parameters from a configuration table.

        Raises:
            ParamsError: Keys are unknown or values unfit; all of them at once.
        """
        params = cls(**read_params(cls, given))
        found: dict[str, str] = {}
        for key in ("heads", "pairs", "key_width", "key_events", "key_steps", "key_batch", "top_k", "max_classes"):
            within(found, key, getattr(params, key), 1)
        within(found, "dead_factor", params.dead_factor, 0)
        within(found, "label_smoothing", params.label_smoothing, 0, 0.999)
        if not 0 < params.rate < float("inf"):
            found["rate"] = f"expected a number above 0, got {params.rate}"
        if params.updates not in UPDATES:
            found["updates"] = f"expected one of {', '.join(UPDATES)}, got {params.updates!r}"
        if params.search not in BACKENDS:
            found["search"] = f"expected one of {', '.join(BACKENDS)}, got {params.search!r}"
        if params.top_k > params.pairs:
            found["top_k"] = f"expected at most pairs = {params.pairs}, got {params.top_k}"
        if params.key_file and not params.key_file.endswith(".npy"):
            found["key_file"] = f"expected a .npy file, got {params.key_file!r}"
        if found:
            raise ParamsError(found)
        return params
