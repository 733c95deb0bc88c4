"""Hyper-parameters of test-time adaptation, validated all at once."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.cotta.adaptation import Loss, Recipe
from thalweg.models.cotta.guard import Limits
from thalweg.models.parts.settings import Count, NotNegative, Settings, Share, Whole, rule

_PUBLISHED = {
    "class_prior": False,
    "judge_views": False,
    "least_information": 1.0,
    "own": 0.1,
    "step_own": 0.0,
    "steps": 1,
    "follow_batch": 10,
}
_CROSS = {
    **_PUBLISHED,
    "reset_steps": 0,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "average": 0.999,
    "restore": 0.01,
    "loss": "cross_entropy",
}
GPU_NUMBERS = 3 * 64 * 64
"""Of an input, from which on a GPU is taken to be faster: measured were pictures of 224 × 224, and none smaller
(docs/gpu.md)."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    "paper": {**_CROSS, "views": "images", "view_count": 32, "threshold": 0.92},
    "code-cifar": {**_CROSS, "views": "images", "view_count": 32, "threshold": 0.92},
    "code-imagenet": {
        **_PUBLISHED,
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
        **_PUBLISHED,
        "reset_steps": 0,
        "learning_rate": 1e-3,
        "loss": "entropy",
        "adapt": "norm",
        "average": 0.0,
        "restore": 0.0,
        "threshold": 0.0,
        "views": "none",
    },
    "bn": {**_PUBLISHED, "learning_rate": 0.0, "restore": 0.0, "threshold": 0.0, "views": "none"},
}
"""Published settings; explicit parameters take precedence over the `variant`."""


class Params(Settings):
    """Parameters of `cotta`; docs/learners/cotta.md has measurements of the defaults."""

    model: str = ""
    """The classifier: `module:factory`, or `timm:NAME`."""

    weights: str = ""
    """Safetensors file with the source's tensors."""

    weights_strict: bool = True
    """The file must have all of the model's tensors and no others; false: those that fit are loaded, and the log says
    which do not."""

    classes: str = ""
    """Names of the outputs in order, separated by commas; empty: 0, 1, 2 …"""

    variant: Literal["ours", "paper", "code-cifar", "code-imagenet", "tent", "bn"] = "ours"
    """One of `VARIANTS`."""

    adapt: str = "all"
    """Weights that adapt: `all`, `norm` (scale and shift of normalisation), or patterns of names separated by
    commas."""

    adapt_batch: Count = 50
    """Inputs per step, in the order of the log."""

    follow_batch: Count = 5
    """Inputs between updates of the target's statistics; `adapt_batch` is a multiple of it."""

    steps: Count = 2
    """Steps per batch."""

    loss: Loss = "symmetric"
    """`cross_entropy` with the teacher, `symmetric`, or the student's own `entropy`."""

    optimizer: Literal["adam", "sgd"] = "adam"
    """`adam`, or `sgd` with Nesterov momentum 0.9."""

    learning_rate: NotNegative = 5e-3
    """Learning rate; 0: only the statistics adapt."""

    average: Share = 0.99
    """Momentum of the teacher, α."""

    restore: Share = 0.03
    """Probability that a weight is restored to the source at each step, p."""

    reset_steps: Whole = 200
    """Steps after which student and teacher are reset to the source (RDumb); the target's statistics stay. 0: never."""

    threshold: NotNegative = 2.0
    """Views are averaged where the anchor's mean confidence is below this; above 1: always."""

    views: str = "shifts"
    """The views: `shifts` (and mirrored), `images` as published, `jitter` of vectors, `none`, or `module:function`."""

    view_count: Count = 4
    """Number of views averaged, N."""

    judge_views: bool = True
    """Views are averaged only where the source gives them the class of the input itself."""

    serve_views: Annotated[int, Field(ge=1, le=8)] = 1
    """1: predict from the input alone; 2: average with the mirrored input, where mirroring keeps the class; up to 8:
    also with both moved by a pixel. A single row takes the same time with any of them."""

    statistics_rows: Whole = 30
    """Rows, balanced over classes, behind the target's statistics; 0: those of the source."""

    own: Share = 0.3
    """Share of a row's own statistics in its prediction."""

    step_own: Share = 0.3
    """Share of a row's own statistics in a step, beside those of its batch; 0: as published."""

    class_prior: bool = True
    """Where the classes of the traffic come in runs, predictions count on them, and no steps are taken."""

    least_diversity: Share = 0.7
    """Minimum entropy of the mean recent prediction, as a share of the largest possible, for a step, with
    `class_prior`."""

    least_information: Share = 0.8
    """The statistics begin again with those of a batch by which the network tells its inputs apart this well, while by
    those that are served it does not: mutual information of inputs and predictions, as a share of the largest possible.
    1: never."""

    window: Whole = 0
    """Latest inputs of the same caller that a prediction is corrected by, where they look alike (LAME); 0: none."""

    caller: str = ""
    """With `window`: the input (int64, a number or text per event) that says who asks; empty: all are one caller."""

    window_callers: Count = 100
    """Callers whose latest inputs are kept; the one not heard for longest is dropped."""

    largest: NotNegative = 1.0
    """Largest input value; inputs are within 0 to this, others are rejected. 0: no limit."""

    least_gradient: NotNegative = 1e-6
    """Steps with a smaller gradient norm are skipped."""

    belt: bool = True
    """Guard every step, and take back harmful ones."""

    belt_window: Count = 200
    """Number of predictions that the guard looks at."""

    least_agreement: Share = 0.75
    """Minimum share of them on which the adapted model and the source agree."""

    least_entropy: Share = 0.9
    """Minimum entropy of the mean prediction, as a share of the source's."""

    largest_update: NotNegative = 0.2
    """Maximum distance of the weights from the source, as a share of the source's norm."""

    canary_margin: Share = 0.02
    """Maximum excess of the error on labelled events over the source's, where events have labels."""

    backoff_steps: Count = 16
    """Steps skipped after a violation; twice as many after the next."""

    @property
    def limits(self) -> Limits:
        """The limits of the guard."""
        return Limits(
            self.least_agreement, self.least_entropy, self.largest_update, self.canary_margin, self.backoff_steps
        )

    @property
    def recipe(self) -> Recipe:
        """The parameters of a step."""
        return Recipe(
            loss=self.loss,
            average=self.average,
            restore=self.restore,
            threshold=self.threshold,
            steps=self.steps,
            least_gradient=self.least_gradient,
        )

    def adapts(self, name: str, of_norm: bool) -> bool:
        """Whether a parameter adapts."""
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

    @rule("caller", "window")
    def _a_caller_has_a_window(self) -> str | None:
        return None if self.window or not self.caller else "expected window above 0 with a caller, got window = 0"

    @rule("adapt_batch", "follow_batch")
    def _whole_batches_are_followed(self) -> str | None:
        sound = self.adapt_batch % self.follow_batch == 0
        return None if sound else f"expected a multiple of follow_batch, {self.follow_batch}, got {self.adapt_batch}"


def gains_from_gpu(context: LearnerContext) -> bool:
    """Whether the inputs are so large that a GPU is faster."""
    return max((prod(spec.shape) for spec in context.inputs.values()), default=0) >= GPU_NUMBERS
