"""Layouts of states: which form of a learner's state this version of the software reads and writes.

A factory says so by two whole numbers. `state_version` rises when the tensors or the meta of `state()`, or what they
mean, change so that an earlier state must not be restored; a changed default of a parameter is such a change, too. It
is part of a model's settings, so that a state of another layout is told as such before anything of it is read, and a
model that has one gets a successor. `state_revision` rises when earlier states are still read, but earlier versions do
not read the new ones: those refuse them by name. A state that says nothing has the layout of when layouts were first
noted, and the first revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from thalweg.models.contract.registry import PREFIXES, UnknownLearner, find

KEY = "layouts"
"""Of a model's settings, and of the meta of a published state: by part, its layout if it is not the first one noted."""
REVISIONS = "state_revisions"
"""Of the meta of a published state: by part, its revision if it is not the first."""
AROUND = {"calibration": (1, 3), "columns": (1, 1), "encoder": (1, 1), "tune": (1, 1)}
"""What may stand around a learner and has a state of its own: version and revision of its layout. A calibration is in
no settings: it has revisions alone.
"""
_NOTED_FIRST = {"ridge": 2}


class OtherLayout(ValueError):
    """A state has a layout that this version of the software does not read."""


def first_noted(part: str) -> int:
    """The layout of states that do not say theirs."""
    return _NOTED_FIRST.get(part, 1)


def layouts_of(learner: str, around: Iterable[str] = ()) -> dict[str, int]:
    """The layouts of a model's state, without those that a state need not say.

    Args:
        learner: The name of the learner; one that cannot be found has none.
        around: Which parts of `AROUND` stand around it.
    """
    found = {part: version for part, (version, _) in _declared(learner, around).items()}
    return {part: version for part, version in found.items() if version != first_noted(part)}


def revisions_of(learner: str, around: Iterable[str] = ()) -> dict[str, int]:
    """The revisions of a model's state, without first ones; arguments as of `layouts_of`."""
    return {part: revision for part, (_, revision) in _declared(learner, around).items() if revision != 1}


def noted_layouts(learner: str, around: Iterable[str] = ()) -> dict[str, dict[str, int]]:
    """Both as meta of a published state, by `KEY` and `REVISIONS`, where there is something to be said."""
    around = tuple(around)
    found = {KEY: layouts_of(learner, around), REVISIONS: revisions_of(learner, around)}
    return {key: value for key, value in found.items() if value}


def newer_revisions(was: Mapping[str, int], learner: str) -> list[str]:
    """A line for each part of a state whose revision is newer than the one that this version of the software writes."""
    return _newer(was, {part: revision for part, (_, revision) in _declared(learner, AROUND).items()})


def _declared(learner: str, around: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Version and revision by part."""
    prefix, colon, _ = learner.partition(":")
    part = prefix if colon and prefix in PREFIXES else learner
    factory: object = None
    with suppress(UnknownLearner):
        factory = find(learner)
    version = getattr(factory, "state_version", first_noted(part))
    return {part: (version, getattr(factory, "state_revision", 1)), **{name: AROUND[name] for name in around}}


def unread_layouts(settings: Mapping[str, Any]) -> list[str]:
    """A line for each part of a state that this version of the software does not read.

    `settings`: those under which it was made, as in a manifest; {} in manifests from before they were recorded.
    """
    return _differences(settings.get(KEY, {}), _read(settings))


def newer_layouts(settings: Mapping[str, Any]) -> bool:
    """Whether a part of a state has a newer layout than this version of the software reads; `settings` as above."""
    return any(old > new for _, old, new in _pairs(settings.get(KEY, {}), _read(settings)))


def _read(settings: Mapping[str, Any]) -> Mapping[str, int]:
    """The layouts that this version reads of a state of these settings; what it says itself without a known learner."""
    learner = settings.get("learner", "")
    try:
        find(learner)
    except UnknownLearner:  # that is told, and there is nothing that would read it
        said: Mapping[str, int] = settings.get(KEY, {})
        return said
    around = [name for name in ("columns", "tune") if settings.get(name)]
    around += ["encoder"] if settings.get("encoder", "identity") != "identity" else []
    return layouts_of(learner, around)


def check_layouts(was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises OtherLayout for a state of another layout of the same parts, or of a newer revision, with both.

    Args:
        was: The meta of the state.
        now: As of `noted_layouts`, of the model.
    """
    lines = _differences(was.get(KEY, {}), now.get(KEY, {}))
    lines += _newer(was.get(REVISIONS, {}), now.get(REVISIONS, {}))
    if lines:
        raise OtherLayout("; ".join(lines))


def _differences(was: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    return [
        f"state layout {old} of {part}, this version reads {new}" for part, old, new in _pairs(was, now) if old != new
    ]


def _pairs(was: Mapping[str, int], now: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Each part with its layout in both."""
    return sorted((part, was.get(part, first_noted(part)), now.get(part, first_noted(part))) for part in {**was, **now})


def _newer(was: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    return [
        f"state revision {revision} of {part}, this version reads up to {now.get(part, 1)}"
        for part, revision in sorted(was.items())
        if revision > now.get(part, 1)
    ]
