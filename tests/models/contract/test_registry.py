"""Learners by name."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from thalweg.models.contract import registry
from thalweg.models.contract.registry import BUILT_IN, PREFIXES, UnknownLearner, find
from thalweg.models.ridge.learner import Ridge


def plugged(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    points = EntryPoints([EntryPoint(name, value, "thalweg.learners")])
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))


def test_every_built_in_name_leads_to_a_factory() -> None:
    for name in BUILT_IN:
        assert callable(find(name))
    assert find("ridge") is Ridge


def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownLearner, match=r"no learner is called 'rigde'; did you mean ridge\? Known: .*ridge"):
        find("rigde")


def test_an_entry_point_adds_a_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged(monkeypatch, "theirs", "thalweg.models.ridge.learner:Ridge")

    assert find("theirs") is Ridge


def test_an_entry_point_cannot_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged(monkeypatch, "ridge", "nowhere:Nothing")

    assert find("ridge") is Ridge


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no.such.module:X", "No module named"),
        ("thalweg.models.ridge.learner:Nothing", "has no attribute 'Nothing'"),
        ("thalweg.models.contract.registry:find", "no predictor_from"),
    ],
)
def test_an_entry_point_that_leads_nowhere_says_why(monkeypatch: pytest.MonkeyPatch, value: str, reason: str) -> None:
    plugged(monkeypatch, "theirs", value)

    with pytest.raises(UnknownLearner, match=reason):
        find("theirs")


def test_a_prefix_leads_to_a_factory_of_the_estimator_at_an_import_path() -> None:
    assert set(PREFIXES) == {"river", "sklearn"}
    assert find("river:river.linear_model.Perceptron").name == "river:river.linear_model.Perceptron"  # type: ignore[attr-defined]
    assert find("river:river.linear_model.Perceptron").takes_columns  # type: ignore[attr-defined]
    assert not hasattr(find("sklearn:sklearn.linear_model.Perceptron"), "takes_columns")
    with pytest.raises(UnknownLearner, match=r"Known: .*ridge, river:IMPORT\.PATH, sklearn:IMPORT\.PATH"):
        find("rivr:river.linear_model.Perceptron")
