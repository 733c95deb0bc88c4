"""Hyper-parameters of the ridge learner, validated all at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

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
    """Everything that can be set on `ridge`; the defaults are those measured in docs/learners/ridge.md."""

    task: Literal["classification", "regression"] = "classification"
    """`classification` (labels are class names) or `regression` (labels are K numbers)."""

    targets: Count = 1
    """Numbers per label, K; regression only."""

    gamma: Positive = 1.0
    """Ridge coefficient, > 0: added to the diagonal of the Gram at every solve, never faded. Too small is unstable
    while events are few, too large under-fits. The constant feature is not penalised."""

    expansion: Whole = 128
    """Width D of the frozen random ReLU layer; 0: none. Learning costs D² a event, memory 8 D² bytes."""

    offsets: bool = True
    """Random offsets inside the ReLU, U(-1, 1). The published method has none; without them (and without
    `standardise`) all features are homogeneous in the input."""

    direct: bool = True
    """The inputs themselves stand beside the random features. Always so when `expansion` is 0."""

    bias: bool = True
    """A constant 1 stands beside the features."""

    standardise: bool = True
    """Centre and scale inputs by their running mean and deviation before the random layer. Off: inputs are taken as
    they come, and the statistics are sums over events that `merge` and `unlearn` can add and take away."""

    clip: Positive = 6.0
    """Standardised inputs are held within ± this many deviations, > 0: what one broken sensor can do is bounded."""

    forgetting: Decays = (0.9999, 0.999, 0.99, 0.97)
    """Decay λ per labelled event, 0 < λ ≤ 1; an event k events ago counts λᵏ. One number, or several: then statistics
    are kept once for each, and the served head is the mixture that did best lately. Learning costs grow with their
    count. 1 forgets nothing."""

    mixture_horizon_events: Annotated[float, Field(gt=1)] = 100.0
    """Over about so many events back is judged which decay does best; > 1. Matters with several decays only."""

    balance: Literal["none", "pseudo_features", "reweighted"] = "none"
    """`pseudo_features`: before each solve, classes are topped up to the largest with Gaussian pseudo-inputs drawn
    from their running mean and variance. `reweighted`: events are weighted by the inverse frequency of their class
    (keeps one Gram per class). `none`: the plain ridge solution, which favours frequent classes."""

    pseudo_noise: NotNegative = 1.0
    """ν ≥ 0: deviations of pseudo-inputs are multiplied by it."""

    pseudo_rows: Count = 256
    """At most so many pseudo-inputs are drawn per class and solve, ≥ 1; each then stands for several. Bounds the cost
    of a balanced head, which would otherwise grow with the stream."""

    refresh_events: Count | Literal["auto"] = "auto"
    """Heads are solved anew once so many labelled events came since the last time. `auto`: before every micro-batch
    while a solve costs next to nothing, else so rarely that solving costs about a sixth of accumulating; more
    often at the start, and at once when a new class appears."""

    solver: Literal["auto", "cholesky", "recursive"] = "auto"
    """`cholesky`: accumulate, then factorise at each refresh. `recursive`: also carry the inverse along by Woodbury
    steps, so that every micro-batch gives a fresh head; only with `forgetting = 1` and `balance = "none"`.
    `auto`: whichever costs fewer operations at the present micro-batch size. The answers are the same."""

    max_classes: Count = 1000
    """Events of further classes are passed over and counted, ≥ 1."""

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

    @rule("solver", "forgetting", "balance")
    def _woodbury_steps_need_plain_sums(self) -> str | None:
        sound = self.solver != "recursive" or (self.forgetting == (1.0,) and self.balance == "none")
        return None if sound else 'recursive needs forgetting = 1 and balance = "none"'
