"""`[model.columns]`: instead of `inputs`, with every mistake said where it stands."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from structlog.testing import capture_logs

from thalweg.models.columns.settings import columns_of
from thalweg.models.columns.stage import FeatureStage
from thalweg.ops.config.config import Config, parse
from thalweg.ops.config.effective import effective
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.column_features import column_lines
from thalweg.proto.rows.column import Column

INPUTS = {"features": {"shape": [4]}}


def config(**model: Any) -> Config:
    return parse({"model": [{"name": "m", "learner": "ridge", "topic": "t", **model}]}, "x.toml", {})


def mistakes(**model: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as told:
        config(**model)
    return str(told.value).replace("x.toml: model.m.", "").splitlines()


def test_a_kind_alone_is_a_column_with_the_usual_options() -> None:
    model = config(columns={"amount": "numeric", "country": {"kind": "categorical", "categories": ["DE"]}}).model[0]

    assert model.named_columns() == {
        "amount": Column(name="amount", kind="numeric"),
        "country": Column(name="country", kind="categorical", categories=("DE",)),
    }
    assert model.specs()["country"].optional
    assert new_learner(model).schema.columns == model.named_columns()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            {"columns": {"age": {"kind": "numeric", "missing": ["?"]}}},
            "columns.age.missing: expected one of indicator, impute, got a list; `missing_values` names markers",
        ),
        (
            {"columns": {"age": {"kind": "numeric", "missing_values": ["?", ""]}}},
            "columns.age.missing_values: expected texts that are not empty: an empty one is a missing value anyway",
        ),
        (
            {"columns": {"age": {"kind": "numeric", "missing_values": [True]}}},
            "columns.age.missing_values[0]: expected str, got True",
        ),
        ({}, "inputs: missing; expected either inputs (tensors) or columns (named values), got neither"),
        ({"inputs": INPUTS, "columns": {"a": "numeric"}}, "inputs: expected either inputs or columns, got both"),
        ({"columns": {"a": "numerc"}}, "columns.a.kind: no such kind as 'numerc'; did you mean numeric?"),
        (
            {"columns": {"a": {"kind": "category"}}},
            "columns.a.kind: no such kind as 'category'; did you mean categorical?",
        ),
        ({"columns": {"a": {"field": "b"}}}, "columns.a.kind: missing; it has no default"),
        ({"columns": {"a": 5}}, "columns.a: expected a table, got 5"),
        (
            {"columns": {"a": {"kind": "numeric", "buckets": 64}}},
            "columns.a: buckets: no option of kind numeric; its options: field, missing, missing_values, "
            "scale, format, units",
        ),
        (
            {"columns": {"a": {"kind": "list", "length": 2, "buckets": 3}}},
            "columns.a: buckets: no option of kind list with length; "
            "its options: field, missing, missing_values, scale, length",
        ),
        (
            {"columns": {"a": {"kind": "text", "ngram": 3}}},
            "columns.a.ngram: no such key; did you mean ngrams?",
        ),
        (
            {"columns": {"a": {"kind": "categorical", "categories": ["x", "x"]}}},
            "columns.a.categories: expected different texts, got 'x' twice",
        ),
        (
            {"columns": {"a": {"kind": "categorical", "categories": [""]}}},
            "columns.a.categories: expected texts that are not empty: an empty one is a missing value",
        ),
        (
            {"learner": "error_memory", "columns": {"a": "hashed"}},
            "columns: error_memory needs the columns user and item, got a; write user = "
            '{ kind = "hashed", field = "…" }, item = { kind = "hashed", field = "…" } with the field of your records '
            "that holds it",
        ),
    ],
)
def test_a_mistake_is_said_where_it_stands(model: dict[str, Any], said: str) -> None:
    assert said in mistakes(**model)


def test_columns_are_part_of_the_identity_and_change_no_other() -> None:
    plain = config(inputs=INPUTS).model[0]
    one = config(columns={"a": "numeric", "b": "text"}).model[0]

    assert (
        plain.identity_sha256() == "65cc3bc455ae3acfd58847d38f2fd0d0ff366205d14839bf582ff876b183aa0b"
    )  # as it always was
    assert "columns" not in plain.identity()
    for other in (
        {"a": "boolean", "b": "text"},
        {"a": "numeric", "b": {"kind": "text", "ngrams": 1}},
        {"a": "numeric"},
    ):
        assert config(columns=other).model[0].identity_sha256() != one.identity_sha256()
    for same in ({"b": {"kind": "text", "ngrams": 2}, "a": {"kind": "numeric"}},):
        assert config(columns=same).model[0].identity_sha256() == one.identity_sha256()


def test_markers_of_missing_values_are_those_of_the_column_or_else_of_the_model() -> None:
    table = {"amount": "numeric", "age": {"kind": "numeric", "missing_values": [" ? ", -999, 1.5]}}
    bare, marked = config(columns=table).model[0], config(columns=table, missing_values=["-"]).model[0]

    assert {name: one.missing_values for name, one in bare.named_columns().items()} == {
        "amount": (),
        "age": ("?", "-999", "1.5"),
    }
    assert {name: one.missing_values for name, one in marked.named_columns().items()} == {
        "amount": ("-",),
        "age": ("?", "-999", "1.5"),
    }
    assert bare.identity_sha256() != marked.identity_sha256()
    assert bare.under(marked.shown_identity()).identity_sha256() == marked.identity_sha256()
    assert marked.under(bare.shown_identity()).identity_sha256() == bare.identity_sha256()


def test_what_a_value_is_read_from_does_not_change_what_its_features_are() -> None:
    stages = [
        FeatureStage(columns_of({"age": {"kind": "numeric", "missing_values": markers}})) for markers in ([], ["?"])
    ]

    assert stages[0].transform.identity == stages[1].transform.identity


def test_a_learner_that_takes_columns_gets_them_as_they_are() -> None:
    given = config(
        learner="river:river.linear_model.LogisticRegression", columns={"amount": "numeric", "place": "hashed"}
    )

    learner = new_learner(given.model[0])

    assert learner.schema.columns == given.model[0].named_columns()
    assert list(column_lines(given))[1].endswith("which river:river.linear_model.LogisticRegression takes as they are")


def test_the_effective_configuration_is_itself_one() -> None:
    columns = {
        "amount": {"kind": "numeric", "scale": False},
        "country": {"kind": "categorical", "missing": "impute"},
        "place": {"kind": "list", "length": 2},
        "tags": "list",
        "when": {"kind": "datetime", "unit": "ms"},
    }
    mine = config(columns=columns)
    again = parse(tomllib.loads(effective(mine)), "again", {})

    assert again.model[0].named_columns() == mine.model[0].named_columns()
    assert again.model[0].identity_sha256() == mine.model[0].identity_sha256()


def test_check_prints_each_column_with_its_features() -> None:
    given = config(columns={"when": "datetime", "amount": "numeric", "flag": {"kind": "boolean", "missing": "impute"}})

    assert list(column_lines(given)) == [
        "",
        "# Columns of m: 3, which become F = 10 features",
        "# when: datetime, 7 features",
        "# amount: numeric, 2 features",
        "# flag: boolean, 1 feature",
    ]
    assert list(column_lines(config(inputs=INPUTS))) == []


def test_check_prints_which_columns_are_ids() -> None:
    clicks = {"user": "hashed", "item": "hashed", "price": "numeric"}

    assert list(column_lines(config(learner="error_memory", columns=clicks)))[1:] == [
        "# Columns of m: 3, 2 of them ids, the others become F = 2 features",
        "# user: hashed, an id",
        "# item: hashed, an id",
        "# price: numeric, 2 features",
    ]
    assert list(column_lines(config(learner="prompt_tpp", columns={"key": "hashed"})))[1:] == [
        "# Columns of m: 1, all of them ids",
        "# key: hashed, an id",
    ]


def test_check_warns_of_many_features_and_names_the_column() -> None:
    given = config(columns={"amount": "numeric", "user": {"kind": "categorical", "max_categories": 2000}})

    with capture_logs() as logs:
        list(column_lines(given))

    assert [(entry["features"], entry["largest_column"], entry["its_features"]) for entry in logs] == [
        (2004, "user", 2002)
    ]


@pytest.mark.parametrize("name", ['quote"d', "a\\b", "line\nbreak"])
@pytest.mark.parametrize("place", ["column", "path", "input", "label", "time"])
def test_a_name_that_no_decoder_finds_is_refused(name: str, place: str) -> None:
    """The service started again and again."""
    columns = {"amount": "numeric"}
    given: dict[str, Any] = {
        "column": {"columns": {name: "numeric"}},
        "path": {"columns": {"amount": {"kind": "numeric", "field": name}}},
        "input": {"inputs": {name: {"shape": [4]}}},
        "label": {"columns": columns, "fields": {"label": name}},
        "time": {"columns": columns, "fields": {"time": name}},
    }[place]

    (said,) = mistakes(**given)

    assert "expected a name without" in said
    assert repr(name) in said
