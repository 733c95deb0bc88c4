"""Layouts of states: which form of a learner's state this version of the software reads and writes.

A factory says so as `state_version`, a whole number that rises when the tensors or the meta of `state()`, or what they
mean, change so that an earlier state must not be restored; a changed default of a parameter is such a change, too. It
is part of a model's settings, so that a state of another layout is told as such before anything of it is read, and a
model that has one gets a successor. A state that says nothing has the layout of when layouts were first noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.models.contract.registry import PREFIXES, UnknownLearner, find

KEY = "layouts"
"""Of a model's settings, and of the meta of a published state: by part, its layout if it is not the first one noted."""
COLUMNS = "columns"
"""The part that is the feature stage."""
COLUMNS_VERSION = 1
"""The layout of its state."""
_NOTED_FIRST = {"ridge": 2}


class OtherLayout(ValueError):
    """A state has a layout that this version of the software does not read."""


def first_noted(part: str) -> int:
    """The layout of states that do not say theirs."""
    return _NOTED_FIRST.get(part, 1)


def layouts_of(learner: str, *, columns: bool) -> dict[str, int]:
    """The layouts of a model's state, without those that a state need not say.

    Args:
        learner: The name of the learner; one that cannot be found has none.
        columns: Whether a feature stage stands in front of it.
    """
    prefix, colon, _ = learner.partition(":")
    part = prefix if colon and prefix in PREFIXES else learner
    try:
        version = getattr(find(learner), "state_version", first_noted(part))
    except UnknownLearner:
        version = first_noted(part)
    found = {part: version, **({COLUMNS: COLUMNS_VERSION} if columns else {})}
    return {name: version for name, version in found.items() if version != first_noted(name)}


def unread_layouts(settings: Mapping[str, Any]) -> list[str]:
    """A line for each part of a state that this version of the software does not read.

    `settings`: those under which it was made, as in a manifest; {} in manifests from before they were recorded.
    """
    learner = settings.get("learner", "")
    try:
        find(learner)
    except UnknownLearner:  # that is told, and there is nothing that would read it
        return []
    return _differences(settings.get(KEY, {}), layouts_of(learner, columns=bool(settings.get("columns"))))


def check_layouts(was: Mapping[str, int], now: Mapping[str, int]) -> None:
    """Raises OtherLayout for a state of another layout of the same parts, with both."""
    if lines := _differences(was, now):
        raise OtherLayout("; ".join(lines))


def _differences(was: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    pairs = [(part, was.get(part, first_noted(part)), now.get(part, first_noted(part))) for part in {**was, **now}]
    return [f"state layout {old} of {part}, this version reads {new}" for part, old, new in sorted(pairs) if old != new]
