"""Hyper-parameters of the key-value bottleneck, validated all at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from thalweg.memory.vectors.key_tables import Backend
from thalweg.models.parts.settings import Count, NotNegative, Positive, Settings, rule


class Params(Settings):
    """Everything that can be set on `bottleneck`; the defaults are those measured in docs/learners/bottleneck.md."""

    heads: Count = 64
    """Codebooks C. More votes, smoother answers; cost and memory grow with them."""

    pairs: Count = 256
    """Key-value pairs per head, M."""

    key_width: Count = 12
    """Numbers per key, d: each head sees the input through a random projection to so many."""

    key_file: str = ""
    """A `.npy` file (N, F) of unlabelled inputs to learn the keys from, before anything else. Empty: from the stream's
    own first `key_events`. What the keys have never seen, they tell apart badly: take inputs of every kind."""

    key_events: Count = 1000
    """Without a `key_file`: the keys are learned once so many events came; until then they wait (and are in every
    snapshot), and nothing is answered. Labelled ones among them are then learned, in order."""

    key_steps: Count = 600
    """Steps of key learning; after them the keys are frozen for good."""

    key_batch: Count = 256
    """Samples per step of key learning."""

    dead_factor: NotNegative = 0.1
    """A key that attracts less than this share of an even spread is put somewhere else after each step; 0: never."""

    standardise: bool = True
    """Scale inputs by mean and deviation of what the keys were learned from, frozen with the keys."""

    rate: Positive = 2.0
    """How far one event moves its own logits towards its label; the learning rate of the values is `rate` · heads."""

    label_smoothing: Annotated[float, Field(ge=0, le=0.999)] = 0.0
    """Share of the label spread evenly over the classes known; 0 … below 1. Any biases probabilities towards even."""

    updates: Literal["event", "micro_batch"] = "event"
    """`event`: one step an event, in order, whatever the micro-batch. `micro_batch`: one step with the mean gradient,
    as published; quicker, with smaller steps."""

    top_k: Count = 1
    """Nearest keys per head that vote."""

    mask_unfetched: bool = True
    """Answer from the nearest key that learning has fetched before, rather than from an empty one nearer by."""

    search: Backend = "auto"
    """`faiss`, `numpy`, or `auto`: whichever is quicker at the size at hand. The neighbours are the same."""

    max_classes: Count = 1000
    """Events of further classes are passed over and counted."""

    @rule("top_k", "pairs")
    def _votes_are_of_pairs(self) -> str | None:
        return f"expected at most pairs = {self.pairs}, got {self.top_k}" if self.top_k > self.pairs else None

    @rule("key_file")
    def _key_file_is_numpys(self) -> str | None:
        sound = not self.key_file or self.key_file.endswith(".npy")
        return None if sound else f"expected a .npy file, got {self.key_file!r}"
