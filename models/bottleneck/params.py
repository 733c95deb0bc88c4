"""Hyper-parameters of the key-value bottleneck, validated all at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from thalweg.memory.vectors.key_tables import Backend
from thalweg.models.parts.settings import Count, NotNegative, Positive, Settings, Whole, rule

_OF_THE_GRADIENT = {"rate", "label_smoothing", "updates", "mask_unfetched"}
KINDS_OF_VALUES = _OF_THE_GRADIENT | {"values", "decay"}
"""Parameters that say what kind of values a key holds."""


class Params(Settings):
    """Parameters of `bottleneck`; docs/learners/bottleneck.md has measurements of the defaults."""

    heads: Count = 64
    """Codebooks C. More heads give smoother predictions; cost and memory grow with them."""

    pairs: Count = 512
    """Key-value pairs per head, M."""

    key_width: Count = 24
    """Numbers per key, d: the width of each head's random projection of the input."""

    components: Whole = 128
    """Heads are projections of so many leading principal components of the data for the keys, on one scale. 0: of the
    inputs themselves, as published."""

    key_file: str = ""
    """A `.npy` file (N, F) of unlabelled inputs, from which the keys are learned first. Empty: from the first
    `key_events` of the stream. Keys discriminate poorly between inputs unlike these: use a representative sample."""

    key_events: Count = 1000
    """Without a `key_file`: the keys are learned from this many first events; until then events wait (and are in every
    snapshot), and the nearest of them answer. The labelled ones are then learned, in order."""

    key_steps: Count = 100
    """Steps of key learning; after them the keys are frozen."""

    key_batch: Count = 256
    """Samples per step of key learning."""

    dead_factor: NotNegative = 0.1
    """A key with less than this share of a uniform assignment is replaced after each step; 0: never."""

    standardise: bool = True
    """Scale inputs by mean and standard deviation of the data for the keys, frozen with the keys."""

    values: Literal["auto", "mixed", "counts", "gradient"] = "auto"
    """What a key holds. `mixed`: counts, counts that fade, and logits learned by gradient, weighed online by how well
    each predicts; for streams that move and those that do not. `counts`: how often events of each class fetched it;
    nothing is forgotten, order does not matter, learners can be merged and events unlearned. `gradient`: logits, as
    published. `auto`: `gradient` if one of its parameters is set (`rate`, `label_smoothing`, `updates`,
    `mask_unfetched`), `counts` if `decay` is a number, else `mixed`."""

    strength: Positive = 2.0
    """Of counts: events that the prior of a key, the share of each class in all events, counts as."""

    decay: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = "auto"
    """What remains of a key's counts after each event that fetches it; keys that are not fetched keep theirs. `auto`:
    several, weighed online (`mixed`); of `counts` alone: 1. With 1 learners can be merged and unlearn."""

    rate: Positive = 2.0
    """Gradient: how much one event moves its own logits towards its label; the learning rate of the values is `rate` ·
    heads."""

    label_smoothing: Annotated[float, Field(ge=0, le=0.999)] = 0.0
    """Gradient: label smoothing over the known classes; 0 … below 1. Any value above 0 biases probabilities towards
    uniform."""

    updates: Literal["event", "micro_batch"] = "event"
    """Gradient. `event`: one step per event, in order. `micro_batch`: one step with the mean gradient, as published;
    faster, with smaller steps."""

    top_k: Count = 1
    """Nearest keys per head that vote."""

    mask_unfetched: bool = True
    """Gradient: predict from the nearest key that was fetched in learning, rather than from a nearer unused one. Of
    counts, a key that holds none abstains."""

    search: Backend = "auto"
    """`faiss`, `numpy`, or `auto`: the fastest for the given size. The neighbours are the same."""

    max_classes: Count = 1000
    """Events of further classes are skipped and counted."""

    @property
    def kind(self) -> Literal["mixed", "counts", "gradient"]:
        """What `values` comes to."""
        if self.values != "auto":
            return self.values
        if _OF_THE_GRADIENT & self.model_fields_set:
            return "gradient"
        return "mixed" if self.decay == "auto" else "counts"

    @property
    def fade(self) -> float:
        """The `decay` of counts alone."""
        return 1.0 if self.decay == "auto" else self.decay

    @rule("values", "decay")
    def _decay_is_of_counts(self) -> str | None:
        fixed = self.values == "mixed" and self.decay != "auto"
        return (
            f'expected "counts" with decay = {self.decay}, got "mixed", which has decays of its own' if fixed else None
        )

    @rule("top_k", "pairs")
    def _votes_are_of_pairs(self) -> str | None:
        return f"expected at most pairs = {self.pairs}, got {self.top_k}" if self.top_k > self.pairs else None

    @rule("key_file")
    def _key_file_is_numpys(self) -> str | None:
        sound = not self.key_file or self.key_file.endswith(".npy")
        return None if sound else f"expected a .npy file, got {self.key_file!r}"
