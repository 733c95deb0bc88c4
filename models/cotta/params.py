"""Hyper-parameters of test-time adaptation, validated all at once."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Field

from thalweg.models.cotta.adaptation import Loss, Recipe
from thalweg.models.cotta.guard import Limits
from thalweg.models.parts.settings import Count, NotNegative, Settings, Share, Whole, rule

_CROSS = {
    "reset_steps": 0,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "average": 0.999,
    "restore": 0.01,
    "loss": "cross_entropy",
}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    "paper": {**_CROSS, "views": "images", "view_count": 32, "threshold": 0.92},
    "code-cifar": {**_CROSS, "views": "images", "view_count": 32, "threshold": 0.92},
    "code-imagenet": {
        "reset_steps": 0,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "average": 0.999,
        "restore": 0.001,
        "loss": "symmetric",
        "views": "images",
        "view_count": 32,
        "threshold": 0.1,
        "adapt_batch": 64,
        "follow_batch": 8,
    },
    "tent": {
        "reset_steps": 0,
        "learning_rate": 1e-3,
        "loss": "entropy",
        "adapt": "norm",
        "average": 0.0,
        "restore": 0.0,
        "threshold": 0.0,
        "views": "none",
    },
    "bn": {"learning_rate": 0.0, "restore": 0.0, "threshold": 0.0, "views": "none"},
}
"""Published settings; what is given beside `variant` goes before them."""


class Params(Settings):
    """Everything that can be set on `cotta`; docs/learners/cotta.md has what the defaults measured."""

    model: str = ""
    """The classifier: `module:factory`, or `timm:NAME`."""

    weights: str = ""
    """Safetensors file with the source's tensors."""

    classes: str = ""
    """Names of the outputs in order, separated by commas; empty: 0, 1, 2 …"""

    variant: Literal["ours", "paper", "code-cifar", "code-imagenet", "tent", "bn"] = "ours"
    """One of `VARIANTS`."""

    adapt: str = "all"
    """What moves: `all`, `norm` (scale and shift of normalisation), or patterns of names separated by commas."""

    adapt_batch: Count = 50
    """Inputs per step, in the order of the log."""

    follow_batch: Count = 10
    """Inputs after which the target's statistics follow; `adapt_batch` is a multiple of it."""

    steps: Count = 1
    """On each batch."""

    loss: Loss = "symmetric"
    """`cross_entropy` with the teacher, `symmetric`, or the student's own `entropy`."""

    optimizer: Literal["adam", "sgd"] = "adam"
    """`adam`, or `sgd` with Nesterov momentum 0.9."""

    learning_rate: NotNegative = 3e-3
    """0: only statistics follow the stream."""

    average: Share = 0.99
    """Of the teacher that stays at each step, α."""

    restore: Share = 0.03
    """Chance of a weight to go back to the source at each step, p."""

    reset_steps: Whole = 200
    """After so many steps student and teacher begin anew from the source (RDumb); the target's statistics stay. 0:
    never."""

    threshold: NotNegative = 2.0
    """Views are averaged where the anchor's mean confidence is below; above 1: always."""

    views: str = "shifts"
    """How inputs are varied: `shifts` (and mirrored), `images` as published, `jitter` of vectors, `none`, or
    `module:function`."""

    view_count: Count = 4
    """Views averaged, N."""

    serve_views: Annotated[int, Field(ge=1, le=2)] = 1
    """What an answer is of: 1: the input alone, 2: the mean with its mirror image, where that means the same."""

    statistics_rows: Whole = 30
    """Latest rows, balanced over classes, that the target's statistics are made of; 0: the source's stand."""

    own: Share = 0.1
    """Share of a row's own statistics in its answer."""

    largest: NotNegative = 1.0
    """Inputs lie from 0 to this; others are refused. 0: anything goes."""

    least_gradient: NotNegative = 1e-6
    """A step whose gradient is smaller is left out."""

    belt: bool = True
    """Guard every step, and go back where one went wrong."""

    belt_window: Count = 200
    """Answers that the guards look back on."""

    least_agreement: Share = 0.75
    """Share of them on which the adapted model and the source must agree."""

    least_entropy: Share = 0.9
    """Of the mean answer, as a share of the source's."""

    largest_update: NotNegative = 0.2
    """Distance of the weights from the source, as a share of the source's norm."""

    canary_margin: Share = 0.02
    """By how much the error on labelled events may be above the source's, where events have labels."""

    backoff_steps: Count = 16
    """Steps left out after a breach; twice as many after the next."""

    @property
    def limits(self) -> Limits:
        """What the guards let through."""
        return Limits(
            self.least_agreement, self.least_entropy, self.largest_update, self.canary_margin, self.backoff_steps
        )

    @property
    def recipe(self) -> Recipe:
        """How a step goes."""
        return Recipe(
            loss=self.loss,
            average=self.average,
            restore=self.restore,
            threshold=self.threshold,
            steps=self.steps,
            least_gradient=self.least_gradient,
        )

    def adapts(self, name: str, of_norm: bool) -> bool:
        """Whether a parameter moves."""
        if self.learning_rate == 0:
            return False
        if self.adapt in ("all", "norm"):
            return of_norm or self.adapt == "all"
        return any(fnmatchcase(name, pattern.strip()) for pattern in self.adapt.split(","))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Params:
        """From a configuration table, on top of its variant. Raises `ParamsError` with all mistakes at once."""
        return super().of({**VARIANTS.get(str(given.get("variant", "ours")), {}), **given})

    @rule("model")
    def _a_model_is_named(self) -> str | None:
        return None if self.model else "expected 'module:factory' or 'timm:NAME', got nothing"

    @rule("adapt_batch", "follow_batch")
    def _whole_batches_are_followed(self) -> str | None:
        sound = self.adapt_batch % self.follow_batch == 0
        return None if sound else f"expected a multiple of follow_batch, {self.follow_batch}, got {self.adapt_batch}"
