"""A key that stands in the wrong table of the file: the mistake names the table to which it belongs."""

from __future__ import annotations

import tomllib

import pytest

from thalweg.ops.config.config import parse
from thalweg.ops.config.error import ConfigurationError

MODEL = '[[model]]\nname = "m"\ntopic = "t"\nlearner = "ridge"\ncolumns.x = "numeric"\n'
RIVER = MODEL.replace("ridge", "river:river.linear_model.LogisticRegression")
BARE = '[[model]]\nname = "m"\ntopic = "t"\n'
ABOVE = "because a key after a table's header is one of that table"


def told(text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        parse(tomllib.loads(text), "f", {})
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "place", "home", "header"),
    [
        (
            f'{MODEL}[model.params]\nencoder = "random_features"\n',
            "model.m.params.encoder",
            "[[model]]",
            "model.params",
        ),
        (f"{MODEL}[model.params]\nbatch_events = 4\n", "model.m.params.batch_events", "[[model]]", "model.params"),
        (f"{RIVER}[model.params]\nseed = 4\n", "model.m.params.seed", "[[model]]", "model.params"),
        (f"{MODEL}[model.drift]\nseed = 4\n", "model.m.drift.seed", "[[model]]", "model.drift"),
        (f"{MODEL}[model.fields]\nseed = 4\n", "model.m.fields.seed", "[[model]]", "model.fields"),
        (f"{BARE}[model.inputs.x]\nshape = [2]\nseed = 4\n", "model.m.inputs.x.seed", "[[model]]", "model.inputs.x"),
        (
            f"[log]\nurl = 'kafka://h:1'\n[log.kafka]\nretention_bytes = 4\n{MODEL}",
            "log.kafka.retention_bytes",
            "[log]",
            "log.kafka",
        ),
        (f'{BARE}[model.columns]\nx = "numeric"\nseed = 4\n', "model.m.columns.seed", "[[model]]", "model.columns"),
        (f'{BARE}[model.columns]\nlearner = "a"\n', "model.m.columns.learner.kind", "[[model]]", "model.columns"),
    ],
)
def test_a_key_of_an_outer_table_belongs_above_the_header_of_the_inner_one(
    text: str, place: str, home: str, header: str
) -> None:
    (line,) = [one for one in told(text).split("\n") if place in one]

    assert f"is a key of {home}, and belongs above [{header}], {ABOVE}" in line


@pytest.mark.parametrize(
    ("text", "place", "home"),
    [
        (f"{MODEL}gamma = 1.0\n", "model.m.gamma", "[model.params]"),
        (f"{MODEL}calm_events = 4\n", "model.m.calm_events", "[model.drift]"),
        (f'{MODEL}[model.params]\nlabel = "y"\n', "model.m.params.label", "[model.fields]"),
        (f'[log]\nstate_dir = "x"\n{MODEL}', "log.state_dir", "[service]"),
        (f"[service]\nretention_bytes = 5\n{MODEL}", "service.retention_bytes", "[log]"),
        (f'state_dir = "x"\n{MODEL}', "state_dir", "[service]"),
        (f'{MODEL}state_dir = "x"\n', "model.m.state_dir", "[service]"),
        (f"[store]\nbatch_events = 4\n{MODEL}", "store.batch_events", "[[model]]"),
    ],
)
def test_a_key_of_another_table_belongs_below_its_header(text: str, place: str, home: str) -> None:
    key = place.rpartition(".")[2]

    assert f"f: {place}: no such key here: {key} is a key of {home}, and belongs below that header" in told(text)


def test_a_misspelt_key_has_its_nearest_and_no_other_home() -> None:
    assert told(f"{MODEL}[model.params]\ngama = 1.0\n") == "f: model.m.params.gama: no such key; did you mean gamma?"


def test_a_column_may_be_named_like_a_key() -> None:
    parse(tomllib.loads(f'{BARE}learner = "ridge"\n[model.columns]\ntopic = "text"\nseed = "numeric"\n'), "f", {})
