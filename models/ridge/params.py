"""Hyper-parameters of the ridge learner, validated all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any

from thalweg.models.contract.learner import ParamsError

BALANCES = ("none", "pseudo_features", "reweighted")
SOLVERS = ("auto", "cholesky", "recursive")
TASKS = ("classification", "regression")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything that can be set on `ridge`; the defaults are those measured in docs/learners/ridge.md."""

    task: str = "classification"
    """`classification` (labels are class names) or `regression` (labels are K numbers)."""

    targets: int = 1
    """Numbers per label, K; regression only."""

    gamma: float = 1.0
    """Ridge coefficient, > 0: added to the diagonal of the Gram at every solve, never faded. Too small is unstable
    while events are few, too large under-fits. The constant feature is not penalised."""

    expansion: int = 128
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

    clip: float = 6.0
    """Standardised inputs are held within ± this many deviations, > 0: what one broken sensor can do is bounded."""

    forgetting: tuple[float, ...] = (0.9999, 0.999, 0.99, 0.97)
    """Decay λ per labelled event, 0 < λ ≤ 1; an event k events ago counts λᵏ. One number, or several: then statistics
    are kept once for each, and the served head is the mixture that did best lately. Learning costs grow with their
    count. 1 forgets nothing."""

    mixture_horizon_events: float = 100.0
    """Over about so many events back is judged which decay does best; > 1. Matters with several decays only."""

    balance: str = "none"
    """`pseudo_features`: before each solve, classes are topped up to the largest with Gaussian pseudo-inputs drawn
    from their running mean and variance. `reweighted`: events are weighted by the inverse frequency of their class
    (keeps one Gram per class). `none`: the plain ridge solution, which favours frequent classes."""

    pseudo_noise: float = 1.0
    """ν ≥ 0: deviations of pseudo-inputs are multiplied by it."""

    pseudo_rows: int = 256
    """At most so many pseudo-inputs are drawn per class and solve, ≥ 1; each then stands for several. Bounds the cost
    of a balanced head, which would otherwise grow with the stream."""

    refresh_events: int | str = "auto"
    """Heads are solved anew once so many labelled events came since the last time. `auto`: before every micro-batch
    while a solve costs next to nothing, else so rarely that solving costs about a sixth of accumulating; more
    often at the start, and at once when a new class appears."""

    solver: str = "auto"
    """`cholesky`: accumulate, then factorise at each refresh. `recursive`: also carry the inverse along by Woodbury
    steps, so that every micro-batch gives a fresh head; only with `forgetting = 1` and `balance = "none"`.
    `auto`: whichever costs fewer operations at the present micro-batch size. The answers are the same."""

    max_classes: int = 1000
    """Events of further classes are passed over and counted, ≥ 1."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Params:
        """Parameters from a configuration table.

        Raises:
            ParamsError: Keys are unknown or values unfit; all of them at once.
        """
        mistakes: dict[str, str] = {}
        names = {field.name: field for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key not in names:
                near = get_close_matches(key, names, n=1)
                mistakes[key] = "no such parameter" + (f"; did you mean {near[0]}?" if near else "")
            elif key == "forgetting" and _is_number(value):
                values[key] = (float(value),)
            elif key == "forgetting" and isinstance(value, (list, tuple)) and all(_is_number(v) for v in value):
                values[key] = tuple(float(v) for v in value)
            elif names[key].type == "float" and _is_number(value):
                values[key] = float(value)
            elif not _fits(value, str(names[key].type)):
                wanted = {"tuple[float, ...]": "a number or a list of numbers", "int | str": 'an integer or "auto"'}
                kind = wanted.get(str(names[key].type), str(names[key].type))
                mistakes[key] = f"expected {kind}, got {value!r}"
            else:
                values[key] = value
        params = cls(**values)
        mistakes.update({key: text for key, text in params._mistakes().items() if key not in mistakes})
        if mistakes:
            raise ParamsError(mistakes)
        return params

    def _mistakes(self) -> dict[str, str]:
        found = {}
        for key, choices in (("task", TASKS), ("balance", BALANCES), ("solver", SOLVERS)):
            if getattr(self, key) not in choices:
                found[key] = f"expected one of {', '.join(choices)}, got {getattr(self, key)!r}"
        for key in ("targets", "pseudo_rows", "max_classes"):
            if getattr(self, key) < 1:
                found[key] = f"expected 1 or more, got {getattr(self, key)}"
        if self.expansion < 0:
            found["expansion"] = f"expected 0 or more, got {self.expansion}"
        for key in ("gamma", "clip"):
            if not (isfinite(getattr(self, key)) and getattr(self, key) > 0):
                found[key] = f"expected a number above 0, got {getattr(self, key)}"
        if not (isfinite(self.pseudo_noise) and self.pseudo_noise >= 0):
            found["pseudo_noise"] = f"expected 0 or more, got {self.pseudo_noise}"
        if not (isfinite(self.mixture_horizon_events) and self.mixture_horizon_events > 1):
            found["mixture_horizon_events"] = f"expected a number above 1, got {self.mixture_horizon_events}"
        if not self.forgetting or not all(0 < decay <= 1 for decay in self.forgetting):
            found["forgetting"] = f"expected numbers in (0, 1], got {list(self.forgetting)}"
        elif len(set(self.forgetting)) < len(self.forgetting):
            found["forgetting"] = f"expected different numbers, got {list(self.forgetting)}"
        if isinstance(self.refresh_events, str):
            if self.refresh_events != "auto":
                found["refresh_events"] = f'expected an integer or "auto", got {self.refresh_events!r}'
        elif self.refresh_events < 1:
            found["refresh_events"] = f"expected 1 or more, got {self.refresh_events}"
        if self.task == "regression" and self.balance != "none":
            found["balance"] = "there are no classes to balance in regression"
        if self.solver == "recursive" and (self.forgetting != (1.0,) or self.balance != "none"):
            found["solver"] = 'recursive needs forgetting = 1 and balance = "none"'
        return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _fits(value: object, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("int", "int | str"):
        return (isinstance(value, int) and not isinstance(value, bool)) or (kind != "int" and isinstance(value, str))
    return kind == "str" and isinstance(value, str)
