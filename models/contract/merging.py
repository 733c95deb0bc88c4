"""What a learner needs so that what several workers have learned can be merged, as its factory declares it.

`merged_defaults`, a function of the parameters given, returns those that have another default where shards are merged;
they are filled in before the learner is made, and are part of a model's settings from then on. `merge_mistakes`, a
function of all its parameters, says by parameter why states made under them cannot be merged, and what to set instead.
A factory with neither has the usual defaults, and its learners say so themselves when two are merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.models.contract.learner import Learner
from thalweg.models.contract.registry import find


def merged_params(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters given and, where shards are merged, defaults of those that are not. Raises UnknownLearner."""
    declared = getattr(find(name), "merged_defaults", None)
    return {**(declared(params) if declared is not None else {}), **params}


def merge_mistakes(name: str, params: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Why states of learners with these parameters cannot be merged, by parameter; None: the factory does not say.

    Raises:
        UnknownLearner: There is no learner of this name.
        ParamsError: The parameters are invalid.
    """
    factory: Any = find(name)
    declared = getattr(factory, "merge_mistakes", None)
    found: Mapping[str, str] | None = None if declared is None else declared(factory.params_type.of(params))
    return found


def refusal(learner: Learner, other: Learner) -> str:
    """Why what two new learners of a model learn cannot be merged; empty: it can. `learner` is not to be used again."""
    mergeable = capability(learner, Mergeable)
    if mergeable is None:
        return "what it learns cannot be added up"
    try:
        mergeable.merge(other.state())
    except ValueError as error:
        return str(error)
    return ""
