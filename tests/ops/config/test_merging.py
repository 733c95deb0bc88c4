"""Models whose shards are merged: what is filled in, and what is refused, with the reason and what to set."""

from __future__ import annotations

from typing import Any

import pytest

from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.models.nearest_mean import NearestMean
from thalweg.ops.config.config import parse
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.learners import effective_params
from thalweg.ops.config.model import ModelConfig

INPUTS: dict[str, Any] = {"features": {"shape": [3]}}
COLUMNS: dict[str, Any] = {
    "amount": "numeric",
    "city": "categorical",
    "when": "datetime",
    "point": {"kind": "list", "length": 2},
    "words": "text",
    "card": {"kind": "categorical", "categories": ["debit", "credit"]},
}


def model(**table: Any) -> ModelConfig:
    table = {"name": "m", "learner": "ridge", "topic": "t", "scale": {}, **table}
    if "columns" not in table:
        table.setdefault("inputs", INPUTS)
    return parse({"model": [table]}, "thalweg.toml", {}).model[0]


def mistakes(**table: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        model(**table)
    return str(refused.value)


def test_a_ridge_with_shards_and_nothing_else_is_made_such_that_they_merge() -> None:
    for table in ({}, {"columns": COLUMNS}):
        found = model(**table)

        params = effective_params(found)
        assert (list(params["forgetting"]), params["standardise"]) == ([1.0], "solved")
        assert found.identity()["params"] == {"forgetting": [1.0], "standardise": "solved"}
        learner, other = found.new_learner(), found.new_learner()
        mergeable = capability(learner, Mergeable)
        assert mergeable is not None
        mergeable.merge(other.state())


def test_columns_of_merged_shards_depend_on_no_other_event_unless_told_otherwise() -> None:
    named = model(columns=COLUMNS).named_columns()

    assert not named["amount"].scale
    assert not named["point"].scale
    assert named["city"].kind == "hashed"
    assert named["card"].kind == "categorical"


def test_what_was_filled_in_is_what_a_manifest_shows_and_makes_the_same_model_again() -> None:
    found = model(columns=COLUMNS)

    again = found.under(found.shown_identity())

    assert again.identity() == found.identity()
    assert again.named_columns() == found.named_columns()


def test_a_shard_made_from_the_model_learns_under_the_same_settings() -> None:
    found = model(columns=COLUMNS)

    shard = found.model_copy(update={"name": "m~3"})

    assert shard.identity_sha256() == found.identity_sha256()
    assert shard.context().params == found.context().params


def test_a_half_life_may_be_set_without_more() -> None:
    params = effective_params(model(params={"half_life_seconds": 3600.0}))

    assert (params["half_life_seconds"], params["forgetting"]) == (3600.0, (1.0,))


@pytest.mark.parametrize("scale", [None, {"answers": "key"}])
def test_without_merging_nothing_is_filled_in_or_refused(scale: Any) -> None:
    table = {"scale": scale} if scale else {}
    given = {"name": "m", "learner": "ridge", "topic": "t", "columns": COLUMNS, "params": {"forgetting": 0.99}}
    found = parse({"model": [{**given, **table}]}, "thalweg.toml", {}).model[0]

    assert found.params == {"forgetting": 0.99}
    assert found.named_columns()["amount"].scale


@pytest.mark.parametrize(
    ("table", "place", "reason"),
    [
        ({"params": {"forgetting": 0.999}}, "params.forgetting", "expected 1, or half_life_seconds instead"),
        ({"params": {"forgetting": [1, 0.9]}}, "params.forgetting", "the order of events between shards is not known"),
        ({"params": {"standardise": True}}, "params.standardise", 'expected "solved"'),
        ({"params": {"balance": "pseudo_features"}}, "params.balance", 'expected "none" or "reweighted"'),
        ({"learner": "nearest_mean", "params": {"decay": 0.9}}, "params.decay", "half_life_seconds"),
        ({"learner": "bottleneck"}, "params.key_file", "each shard would learn other keys"),
        ({"learner": "bottleneck", "params": {"rate": 1.0}}, "params.values", 'expected "counts"'),
        ({"columns": {"amount": {"kind": "numeric", "scale": True}}}, "columns.amount", "scale = false"),
        ({"columns": {"city": {"kind": "categorical", "min_events": 3}}}, "columns.city", "its categories listed"),
        ({"columns": {"when": {"kind": "datetime", "trend": True}}}, "columns.when", "trend = false"),
        ({"drift": {"action": "raise_forgetting"}}, "drift.action", "expected observe"),
        (
            {"tune": {"params": {"gamma": [1.0, 10.0]}}},
            "scale.answers",
            'answers = "key" lets each shard answer',
        ),
        (
            {"learner": "sklearn:sklearn.linear_model.SGDClassifier", "classes": ["a", "b"]},
            "scale.answers",
            'answers = "key"',
        ),
        (
            {"learner": "prompt_tpp", "inputs": {"key": {"shape": [], "dtype": "bytes"}}},
            "scale.answers",
            "what a prompt_tpp has learned cannot be merged",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_with_the_reason_and_what_to_set(
    table: dict[str, Any], place: str, reason: str
) -> None:
    text = mistakes(**table)

    assert f"model.m.{place}: " in text
    assert reason in text


def test_a_learner_that_declares_nothing_is_refused_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(NearestMean, "merge_mistakes")

    text = mistakes(learner="nearest_mean", params={"decay": 0.9})

    assert "model.m.scale.answers: cannot merge: needs decay = 1" in text


def test_a_key_file_makes_a_bottleneck_merge(tmp_path: Any) -> None:
    import numpy as np

    np.save(tmp_path / "keys.npy", np.random.default_rng(1).standard_normal((50, 3)))

    found = model(learner="bottleneck", params={"key_file": str(tmp_path / "keys.npy"), "heads": 2, "pairs": 4})

    assert found.params["values"] == "counts"
