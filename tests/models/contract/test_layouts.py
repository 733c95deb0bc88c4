"""Every learner says which layout its states have, so that a version that does not read one names the cause."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.models.contract.noted_layouts import NOTED, PARTS, layout
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.models.contract.layouts import (
    AROUND,
    KEY,
    REVISIONS,
    OtherLayout,
    check_layouts,
    first_noted,
    layouts_of,
    noted_layouts,
    revisions_of,
    unread_layouts,
)
from thalweg.models.contract.registry import BUILT_IN, find
from thalweg.stream.learn.settings import ProcessorSettings, StateMismatch, check_settings

ESTIMATORS = {
    "river": "river:river.linear_model.LogisticRegression",
    "sklearn": "sklearn:sklearn.linear_model.Perceptron",
}
LEARNERS = {name: name for name in sorted(BUILT_IN)} | ESTIMATORS
OF_EACH = pytest.mark.parametrize(("part", "learner"), LEARNERS.items(), ids=str)
MANIFEST = Manifest(
    model="m", version=7, parent=None, learner="l", config_sha256="", offsets={}, events_learned=1, created=0.0
)


def declared(learner: str) -> tuple[int, int]:
    factory: Any = find(learner)
    return factory.state_version, factory.state_revision


@OF_EACH
def test_every_learner_declares_its_layout(part: str, learner: str) -> None:
    assert all(number >= 1 for number in declared(learner))
    assert layouts_of(learner) == {}, "states without a word were written under this layout"


@OF_EACH
def test_a_state_of_another_layout_is_refused_by_name(part: str, learner: str) -> None:
    version, _ = declared(learner)
    assert version == first_noted(part)

    for other in (version + 1, version - 1):
        told = f"state layout {other} of {part}, this version reads {version}"
        assert unread_layouts({"learner": learner, KEY: {part: other}}) == [told]
        with pytest.raises(OtherLayout, match=told):
            check_layouts({KEY: {part: other}}, noted_layouts(learner))


@pytest.mark.parametrize(("part", "learner"), [*LEARNERS.items(), *((part, "nearest_mean") for part in AROUND)])
def test_a_state_of_a_newer_revision_is_refused_by_name_with_the_way_back_and_older_ones_are_read(
    part: str, learner: str
) -> None:
    revision = AROUND[part][1] if part in AROUND else declared(learner)[1]
    settings = ProcessorSettings(model="m", learner=learner)
    told = f"state revision {revision + 1} of {part}, this version reads up to {revision}"

    with pytest.raises(
        StateMismatch, match=rf"version 7\) has {told}: go back to the version of thalweg that saved it"
    ):
        check_settings(replace(MANIFEST, revisions={part: revision + 1}), settings)
    with pytest.raises(OtherLayout, match=told):
        check_layouts({REVISIONS: {part: revision + 1}}, noted_layouts(learner, AROUND))

    for older in range(1, revision + 1):
        check_settings(replace(MANIFEST, revisions={part: older}), settings)
        check_layouts({REVISIONS: {part: older}}, noted_layouts(learner, AROUND))


def test_a_raised_revision_is_noted_of_the_parts_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AROUND, "tune", (1, 3))
    monkeypatch.setattr(find("ridge"), "state_revision", 2, raising=False)

    assert revisions_of("ridge") == {"ridge": 2}
    assert noted_layouts("ridge", ["tune"]) == {REVISIONS: {"ridge": 2, "tune": 3}}
    assert unread_layouts({"learner": "ridge", "tune": {"variants": 2}}) == []
    monkeypatch.setitem(AROUND, "tune", (2, 1))
    assert unread_layouts({"learner": "ridge", "tune": {"variants": 2}}) == [
        "state layout 1 of tune, this version reads 2"
    ]
    assert unread_layouts({"learner": "ridge"}) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_state_that_has_changed_has_another_number(part: str) -> None:
    noted, now = json.loads(NOTED.read_text())[part], layout(part)
    arrays = {
        name for name in {**noted["arrays"], **now["arrays"]} if noted["arrays"].get(name) != now["arrays"].get(name)
    }
    meta = set(noted["meta"]) ^ set(now["meta"])

    assert not (arrays or meta) or noted["layout"] != now["layout"], (
        f"the state of {part} has changed: {sorted(arrays | meta)}. Raise its `state_revision` where states of before "
        "are still read, else its `state_version`; of what stands around learners: in `AROUND` of layouts.py"
    )
    assert now == noted, "run: python -m tests.models.contract.noted_layouts"
