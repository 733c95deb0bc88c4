"""`[model.fields]`: where the parts of an event stand in records of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.ops.config.config import load
from thalweg.ops.config.effective import effective
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.proto.rows.fields import FieldMapping

MODEL = """
[[model]]
name = "fraud"
learner = "ridge"
topic = "payments"
"""
COLUMNS = """
[model.columns]
amount = "numeric"
"""


def model(folder: Path, text: str, columns: str = COLUMNS) -> ModelConfig:
    path = folder / "thalweg.toml"
    path.write_text(MODEL + text + columns)
    return load(path).find("fraud")


def test_parts_that_are_not_given_have_their_usual_names(tmp_path: Path) -> None:
    fields = '[model.fields]\nlabel = "order.is_fraud"\ntime = { field = "created", unit = "ms" }\nunknown = "reject"'

    assert model(tmp_path, fields).field_mapping() == FieldMapping(
        label="order.is_fraud", time="created", time_unit="ms", unknown="reject"
    )
    assert model(tmp_path, '[model.fields]\ntime = "created"').field_mapping() == FieldMapping(time="created")
    assert model(tmp_path, "").field_mapping() is None


def test_a_usual_name_that_a_column_has_is_that_part_only_if_it_is_given(tmp_path: Path) -> None:
    columns = '\n[model.columns]\nweight = "numeric"\nid = "categorical"'

    usual = model(tmp_path, '[model.fields]\nlabel = "y"', columns).field_mapping()
    given = model(tmp_path, '[model.fields]\nlabel = "y"\nweight = "weight"', columns).field_mapping()

    assert usual == FieldMapping(label="y", id="", weight="")
    assert given == FieldMapping(label="y", id="", weight="weight")


def test_the_mapping_is_part_of_the_identity_where_it_is_given(tmp_path: Path) -> None:
    without = model(tmp_path, "")
    one = model(tmp_path, '[model.fields]\nlabel = "a"')
    other = model(tmp_path, '[model.fields]\nlabel = "b"')

    assert "fields" not in without.identity()
    assert len({made.identity_sha256() for made in (without, one, other)}) == 3


def test_the_effective_configuration_says_it_again(tmp_path: Path) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text(MODEL + '[model.fields]\nlabel = "y"\ntime = { field = "at", unit = "ns" }' + COLUMNS)
    first = load(path)

    path.write_text(effective(first))

    assert load(path).find("fraud") == first.find("fraud")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('lable = "y"', r"model\.fraud\.fields\.lable: no such key; did you mean label\?"),
        ("label = 3", r"model\.fraud\.fields\.label: expected str, got 3"),
        ('unknown = "refuse"', r"model\.fraud\.fields\.unknown: expected one of ignore, reject, got 'refuse'"),
        ('time = { feild = "at" }', r"model\.fraud\.fields\.time\.feild: no such key; did you mean field\?"),
        ('time = { field = "at", unit = "sec" }', r"fields\.time\.unit: expected one of auto, s, ms, us, ns, rfc3339"),
        ("time = 3", r"model\.fraud\.fields\.time: expected a table, got 3"),
        ('label = "amount"', r"model\.fraud\.fields: the label is column 'amount', too"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        model(tmp_path, "[model.fields]\n" + text)
