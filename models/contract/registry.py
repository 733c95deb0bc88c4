"""The registry of learners by name. Built-in learners are import strings, so that no library is imported before it is
used; the entry-point group `thalweg.learners` adds others.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NamedTuple, cast

from thalweg.models.contract.learner import LearnerFactory
from thalweg.models.parts.user_modules import not_allowed


class BuiltIn(NamedTuple):
    """A built-in learner."""

    target: str
    """The import string of its factory."""
    summary: str
    """Its purpose in half a sentence; shown in the documentation's tables of learners."""


BUILT_IN = {
    "bottleneck": BuiltIn(
        "thalweg.models.bottleneck.learner:Bottleneck",
        "classes one after the other, remembered without stored samples: a discrete key-value bottleneck",
    ),
    "cotta": BuiltIn(
        "thalweg.models.cotta.learner:Cotta", "a torch classifier that adapts to its unlabelled traffic, guarded"
    ),
    "error_memory": BuiltIn(
        "thalweg.models.error_memory.learner:ErrorMemory",
        "clicks and ratings: a recommender corrected by a memory of its recent errors",
    ),
    "nearest_mean": BuiltIn(
        "thalweg.models.nearest_mean:NearestMean",
        "classes from their first label on: class means with a shared covariance; merges and unlearns",
    ),
    "prompt_tpp": BuiltIn(
        "thalweg.models.prompt_tpp.learner:PromptTpp", "what each of many keys does next, and when: a point process"
    ),
    "ridge": BuiltIn(
        "thalweg.models.ridge.learner:Ridge",
        "classification or regression on numbers, exact after every event; take it first",
    ),
}
PREFIXES = {
    "river": BuiltIn(
        "thalweg.models.adapters.river:RiverFactory", "any estimator of River by its import path, as it is"
    ),
    "sklearn": BuiltIn(
        "thalweg.models.adapters.sklearn:SklearnFactory",
        "any estimator of scikit-learn with `partial_fit` by its import path, as it is",
    ),
}
"""Learners with an import path after the prefix and a colon; the target makes a factory of the path."""
GROUP = "thalweg.learners"


class UnknownLearner(ValueError):
    """There is no learner of this name, or its registration is invalid; the message lists the known ones."""


def known() -> dict[str, str]:
    """Import strings by name; a built-in name cannot be taken by an entry point."""
    built_in = {name: learner.target for name, learner in BUILT_IN.items()}
    return {entry.name: entry.value for entry in entry_points(group=GROUP)} | built_in


def find(name: str) -> LearnerFactory:
    """Import and return the factory registered as `name`.

    Raises:
        UnknownLearner: There is none, it cannot be imported, or it is not a learner factory.
    """
    prefix, colon, path = name.partition(":")
    if colon and prefix in PREFIXES:
        return cast(LearnerFactory, _imported(prefix, PREFIXES[prefix].target)(path))
    # looking for entry points reads the metadata of every installed package, which takes milliseconds
    choices = {name: BUILT_IN[name].target} if name in BUILT_IN else known()
    if name not in choices:
        near = get_close_matches(name, choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        prefixes = ", ".join(f"{prefix}:IMPORT.PATH" for prefix in PREFIXES)
        raise UnknownLearner(f"no learner is called {name!r}{hint} Known: {', '.join(sorted(choices))}, {prefixes}")
    target = choices[name]
    if why := not_allowed(target.partition(":")[0]):
        raise UnknownLearner(f"learner {name!r} is registered as {target}; {why}")
    factory = _imported(name, target)
    if not callable(factory) or not callable(getattr(factory, "predictor_from", None)):
        raise UnknownLearner(
            f"learner {name!r} is registered as {target}, which is not a learner factory: it has no predictor_from"
        )
    return cast(LearnerFactory, factory)


def _imported(name: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UnknownLearner(
            f"learner {name!r} is registered as {target}, which cannot be imported: {error}"
        ) from error
    return found
