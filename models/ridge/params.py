"""Hyper-parameters of the ridge learner, validated all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from thalweg.models.parts.half_life import HalfLifeSeconds
from thalweg.models.parts.settings import Count, NotNegative, Positive, Settings, Whole, rule


def _one_or_several(given: Any) -> Any:
    if isinstance(given, (list, tuple)):
        return tuple(given)
    if isinstance(given, (int, float)):
        return (given,)
    raise ValueError(f"expected a number or a list of numbers, got {given!r}")


Decay = Annotated[float, Field(gt=0, le=1)]
Decays = Annotated[tuple[float, ...], BeforeValidator(_one_or_several, json_schema_input_type=Decay | list[Decay])]


class Params(Settings):
    """Parameters of `ridge`; docs/learners/ridge.md has measurements of the defaults."""

    task: Literal["classification", "regression"] = "classification"
    """`classification` (labels are class names) or `regression` (labels are K numbers)."""

    targets: Count = 1
    """Numbers per label, K; regression only."""

    gamma: Positive | Literal["auto"] = "auto"
    """Ridge coefficient, > 0: added to the diagonal of the Gram at every solve, without decay. Too small a value is
    unstable while events are few, too large a value under-fits. `auto`: half of what the mean square of an
    event's features is above 100 (1,000 for 2,000 standardised inputs), at least 1. The intercept is not penalised."""

    expansion: Whole = 128
    """Width D of the frozen random ReLU layer; 0: none. Learning costs D² per event, memory 8 D² bytes. Behind columns
    64 by default, or 0 with one decay, and the layer sees numbers and times alone: it would answer what never came
    before, such as a new category, at random. Beside several decays, linear heads learn as well and are weighed."""

    rest_expansion: bool = True
    """Whether random features rest where the inputs alone are right as often: both are compared after 4,096 events and
    then ever more rarely. Classification with several decays, `standardise`, `direct` and `bias` only."""

    offsets: bool = True
    """Random offsets inside the ReLU, U(-1, 1). The published method has none; without them (and without
    `standardise`) all features are homogeneous in the input."""

    direct: bool = True
    """The inputs as additional features. Always on when `expansion` is 0."""

    bias: bool = True
    """A constant 1 as an additional feature (intercept)."""

    standardise: bool | Literal["solved"] = True
    """Centre and scale inputs by their running mean and standard deviation before the random layer. Off: inputs are not
    scaled, and the statistics are sums over events that `merge` and `unlearn` can add and subtract. `solved`: the same
    sums, and each feature is divided by its standard deviation when heads are solved, which the sums tell; the default
    where [shards](scale.md#merging) are merged. Off by default behind columns, whose features are scaled already."""

    clip: Positive = 6.0
    """Standardised inputs are clipped to ± this many standard deviations, > 0: this limits the effect of a broken
    sensor."""

    target_clip: Positive = 10.0
    """Regression: a target further than this many deviations from the running mean is learned as if it were that far,
    unless it is the fifth such in a row. Not applied to sums that `merge` can add (`forgetting = 1`, and `standardise`
    off or `solved`)."""

    forgetting: Decays = (0.9999, 0.999, 0.99)
    """Decay λ per labelled event, 0 < λ ≤ 1; an event k events ago has weight λᵏ. One number, or several: then
    statistics are stored for each, and the served head is their mixture, weighted by recent error. The cost of learning
    grows with their number. 1: no forgetting."""

    half_life_seconds: HalfLifeSeconds = 0.0
    """Forgetting by event time instead of by events: an event this many seconds older than the newest counts half,
    whatever the order in which events came, so that shards are merged exactly. 0: none. Then `forgetting` is 1 unless
    it is set."""

    keep_absent: bool = True
    """Whether classes that no longer come are still known, however fast events are forgotten: each class is forgotten
    by a clock that stops while it is away. Off: after n events, an event has weight λⁿ, of whatever class. Without
    effect for `forgetting = 1` and for balanced heads."""

    mixture_horizon_events: Annotated[float, Field(gt=1)] = 100.0
    """Horizon in events for the comparison of several decays; > 1."""

    balance: Literal["none", "pseudo_features", "reweighted"] = "none"
    """`pseudo_features`: before each solve, classes are filled up to the largest with Gaussian pseudo-inputs drawn from
    their running mean and variance. `reweighted`: events are weighted by the inverse frequency of their class (stores
    one Gram per class). `none`: the plain ridge solution, which favours frequent classes."""

    pseudo_noise: NotNegative = 1.0
    """ν ≥ 0: factor on the standard deviations of pseudo-inputs."""

    pseudo_rows: Count = 256
    """Most pseudo-inputs per class and solve, ≥ 1, with larger weights if needed. Bounds the cost of a balanced head,
    which would otherwise grow with the stream."""

    refresh_events: Count | Literal["auto"] = "auto"
    """Labelled events between solves. `auto`: before every micro-batch while a solve is cheap, else rarely enough that
    solving costs about a sixth of accumulating; more often at the start, and at once when a new class appears."""

    solver: Literal["auto", "cholesky", "recursive"] = "auto"
    """`cholesky`: accumulate, then factorise at each refresh. `recursive`: also update the inverse by Woodbury steps,
    so that every micro-batch gives a fresh head; only with `forgetting = 1` and `balance = "none"`. `auto`: whichever
    costs fewer operations at the current micro-batch size, for all decays. The predictions are the same up to γ, which
    lies between half of it and all of it after steps of sums that fade."""

    max_classes: Count = 1000
    """Events of further classes are skipped and counted, ≥ 1."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """As of `Settings`; events that are forgotten by their time are not forgotten by their number as well."""
        by_time = given.get("half_life_seconds") and "forgetting" not in given
        return super().of({**given, "forgetting": [1.0]} if by_time else given)

    @property
    def additive(self) -> bool:
        """Whether the sums are functions of the events alone, whatever their order."""
        return self.forgetting == (1.0,) and self.standardise is not True

    @rule("forgetting")
    def _decays_fade_and_differ(self) -> str | None:
        given = list(self.forgetting)
        if not given or not all(0 < decay <= 1 for decay in given):
            return f"expected numbers in (0, 1], got {given}"
        return f"expected different numbers, got {given}" if len(set(given)) < len(given) else None

    @rule("balance", "task")
    def _only_classes_are_balanced(self) -> str | None:
        sound = self.balance == "none" or self.task == "classification"
        return None if sound else "there are no classes to balance in regression"

    @rule("half_life_seconds", "forgetting")
    def _events_are_forgotten_in_one_way(self) -> str | None:
        sound = not self.half_life_seconds or self.forgetting == (1.0,)
        return None if sound else f"expected forgetting = 1 beside it, got {list(self.forgetting)}"

    @rule("standardise", "bias")
    def _scales_follow_from_the_intercept(self) -> str | None:
        sound = self.standardise != "solved" or self.bias
        return None if sound else '"solved" needs bias = true: means and deviations follow from its sums'

    @property
    def takes_steps(self) -> bool:
        """Whether heads may be updated by Woodbury steps."""
        return self.balance == "none" and not self.half_life_seconds and self.standardise != "solved"

    @rule("solver", "forgetting", "balance")
    def _woodbury_steps_need_plain_sums(self) -> str | None:
        sound = self.solver != "recursive" or (self.forgetting == (1.0,) and self.balance == "none")
        return None if sound else 'recursive needs forgetting = 1 and balance = "none"'

    @rule("solver", "half_life_seconds", "standardise")
    def _woodbury_steps_keep_weights_and_scales(self) -> str | None:
        sound = self.solver != "recursive" or (not self.half_life_seconds and self.standardise != "solved")
        return None if sound else "recursive needs no half-life, and standardise = true or false"


def defaults_behind_columns(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Defaults of those that are not given where features come from columns.

    Numbers are scaled already there, and rare categories must not be: divided by its deviation, one that came twice
    would weigh as much as all others together. The random layer sees scaled numbers and times alone (`smooth` of the
    context): it would answer a category or a missing value that never came before with confidence, and wrongly. It
    costs accuracy where effects are linear and noisy; beside several decays, heads without it make good for that.
    """
    decays = given.get("forgetting", (1.0,) if given.get("half_life_seconds") else (0.9999, 0.999))
    several = isinstance(decays, (list, tuple)) and len(decays) > 1 and given.get("balance", "none") == "none"
    return {"standardise": False, "expansion": 64 if several else 0}
