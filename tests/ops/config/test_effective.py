"""What `thalweg check` prints is what is in effect, and a configuration again."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.ridge.params import Params
from thalweg.ops.config.config import Config, parse
from thalweg.ops.config.effective import _line, effective

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.toml"))


def config(text: str) -> Config:
    return parse(tomllib.loads(text), "f", {})


def model(learner: str = "ridge", inputs: str = "x = { shape = [2] }", more: str = "") -> str:
    return f"[[model]]\nname = 'm'\nlearner = '{learner}'\ntopic = 't'\ninputs = {{ {inputs} }}\n{more}"


CLICKS = "user = { shape = [], dtype = 'int64' }, item = { shape = [], dtype = 'int64' }"
CONFIGURATIONS = [
    *(pytest.param(path.read_text(), id=path.stem) for path in EXAMPLES),
    model(more="[model.params]\nforgetting = 1\ngamma = 2\n[model.drift]\ndetectors = []\n"),
    model("bottleneck"),
    model("error_memory", CLICKS),
    model("prompt_tpp", "key = { shape = [], dtype = 'bytes' }"),
    model(
        "cotta",
        "image = { shape = [1, 8, 8] }",
        "params = { variant = 'tent', model = 'thalweg.ops.demo.camera:classifier' }",
    ),
    model(
        more="labels_topic = 'l'\n[log]\nretention_bytes = 5\nretention_seconds = 1\n[log.kafka]\n'a.b' = ['x\\ty', 2]"
    ),
]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_what_is_printed_is_the_same_configuration(text: str) -> None:
    given = config(text)

    again = config(effective(given))

    assert again == given
    assert [one.identity_sha256() for one in again.model] == [one.identity_sha256() for one in given.model]


def test_every_key_and_every_parameter_is_printed_and_whether_it_was_given() -> None:
    lines = effective(config(model(more="[model.params]\ngamma = 1.0\n"))).splitlines()

    assert 'batch_events = "auto"  # default' in lines
    assert 'topic = "t"' in lines
    assert "# retention_records = none  # default" in lines
    params = lines[lines.index("[model.params]") + 1 : lines.index("[model.drift]") - 1]
    assert [line.removeprefix("# ").partition(" = ")[0] for line in params] == list(Params.model_fields)
    assert "gamma = 1.0" in params
    assert "# expansion = 128  # default" in params


def test_a_variant_shows_what_it_sets() -> None:
    text = model(
        "cotta",
        "image = { shape = [1, 8, 8] }",
        "params = { variant = 'tent', model = 'thalweg.ops.demo.camera:classifier' }",
    )

    assert '# loss = "entropy"  # default' in effective(config(text)).splitlines()


def test_secrets_are_masked() -> None:
    text = (
        model()
        + """
[log]
url = "kafka://b:1"
[log.kafka]
"sasl.password" = "hush"
"sasl.username" = "me"
ssl_password = "hush"
[store]
url = "redis://me:hu%2Fhush%40sh@host:1/0?db=1&Password=hush"
"""
    )

    shown = effective(config(text))

    assert "hush" not in shown
    table = tomllib.loads(shown)
    assert table["log"]["kafka"] == {"sasl.password": "***", "sasl.username": "me", "ssl_password": "***"}
    assert table["store"]["url"] == "redis://***@host:1/0?db=1&Password=***"
    assert config(shown).model


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.dates() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.text(), VALUES)
def test_any_value_under_any_key_is_read_back_as_it_was(key: str, value: Any) -> None:
    assert tomllib.loads(_line(key, value, True)) == {key: value}


def test_a_time_is_read_back_as_it_was() -> None:
    value = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)

    assert tomllib.loads(_line("at", value, False)) == {"at": value}


def test_the_password_of_a_schema_registry_comes_from_the_environment_and_is_never_shown() -> None:
    file = tomllib.loads(model() + "\n[log.registry]\nurl = 'http://r:1'\nuser = 'u'")

    found = parse(file, "f", {"THALWEG_LOG__REGISTRY__PASSWORD": "hidden"})

    assert found.log.registry is not None
    assert found.log.registry.password == "hidden"
    assert "hidden" not in effective(found)
    assert "http://r:1" in effective(found)
