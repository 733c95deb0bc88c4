"""Which learner a name means. Ours stand in a table of import strings, so that nothing heavy loads before it is used;
others come in through the entry-point group `thalweg.learners`.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from thalweg.models.contract.learner import LearnerFactory

BUILT_IN = {
    "bottleneck": "thalweg.models.bottleneck.learner:Bottleneck",
    "cotta": "thalweg.models.cotta.learner:Cotta",
    "error_memory": "thalweg.models.error_memory.learner:ErrorMemory",
    "nearest_mean": "thalweg.models.nearest_mean:NearestMean",
    "prompt_tpp": "thalweg.models.prompt_tpp.learner:PromptTpp",
    "ridge": "thalweg.models.ridge.learner:Ridge",
}
GROUP = "thalweg.learners"


class UnknownLearner(ValueError):
    """No learner has this name, or what is registered under it cannot be used; the message says which are known."""


def known() -> dict[str, str]:
    """Import strings by name; a built-in name cannot be taken by an entry point."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)} | BUILT_IN


def find(name: str) -> LearnerFactory:
    """The factory registered as `name`, imported now.

    Raises:
        UnknownLearner: There is none, it cannot be imported, or it is no learner factory.
    """
    choices = known()
    if name not in choices:
        near = get_close_matches(name, choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UnknownLearner(f"no learner is called {name!r}{hint} Known: {', '.join(sorted(choices))}")
    target = choices[name]
    module, _, attribute = target.partition(":")
    try:
        factory = import_module(module)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise UnknownLearner(
            f"learner {name!r} is registered as {target}, which cannot be imported: {error}"
        ) from error
    if not callable(factory) or not callable(getattr(factory, "predictor_from", None)):
        raise UnknownLearner(
            f"learner {name!r} is registered as {target}, which is no learner factory: no predictor_from"
        )
    return cast(LearnerFactory, factory)
