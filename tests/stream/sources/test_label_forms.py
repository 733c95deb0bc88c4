"""A label means one class, whatever form its event or it itself comes in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.stream.labels.test_joining import House
from thalweg.proto import thalweg_pb2
from thalweg.proto.columns import of_untyped
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_HEADERS
from thalweg.proto.event import ClassLabels, Decoded
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.log.log import Message
from thalweg.stream.sources.files import read_events

SCHEMA = Schema({"x": TensorSpec("x", "float32", (2,))})
SEQUENCES = Schema({"key": TensorSpec("key", "bytes", ())}, "class")


def outcome(parts: Sequence[Decoded]) -> str:
    """The only event's class, or why it has none."""
    for part in parts:
        if part.rejected:
            return f"refused: {part.rejected[0].reason}"
        if len(part.batch):
            assert isinstance(part.batch.labels, ClassLabels)
            return part.batch.labels.names[part.batch.labels.codes[0]]
    raise AssertionError("no event and no reason")


def decoded(value: bytes, headers: Any = ()) -> Decoded:
    return Decoder(SCHEMA).decode(Records(Partition("t", 0), [0], [0.0], [None], [value], [headers]))


def from_json(literal: str, folder: Path) -> str:
    return outcome([decoded(b'{"inputs": {"x": [1, 2]}, "label": %b}' % literal.encode())])


def from_csv(literal: str, folder: Path) -> str:
    (folder / "a.csv").write_text(f"a,b,label\n1,2,{literal}\n")
    return outcome(list(read_events(folder / "a.csv", SCHEMA)))


def from_sequences(literal: str, folder: Path) -> str:
    (folder / "a.jsonl").write_text(f'{{"key": "a", "t": [1], "k": [{literal}]}}\n')
    return outcome(list(read_events(folder / "a.jsonl", SEQUENCES)))


def from_labels_topic(literal: str, folder: Path) -> str:
    house = House(folder)
    house.ask("e1")
    house.log.append("labels", [Message(b'{"id": "e1", "label": %b}' % literal.encode())])
    house.run()
    return house.joined()[0][1] if house.joined() else f"refused: {house.letters()[0][0]}"


def from_protobuf(literal: str, folder: Path) -> str:
    event = thalweg_pb2.Event()
    tensor = event.inputs.add(name="x", datatype="FP32", shape=[2])
    tensor.contents.fp32_contents.extend([1, 2])
    value = json.loads(literal)
    if isinstance(value, bool):
        event.label_text = literal  # it has texts and numbers
    else:
        event.label_number = value
    return outcome([decoded(event.SerializeToString(), EVENT_HEADERS)])


FORMS = [from_json, from_csv, from_sequences, from_labels_topic, from_protobuf]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("literal", "name"),
    [
        ("3", "3"),
        ("3.0", "3"),
        ("-1", "-1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("2.50", "2.5"),
        ("1e2", "100"),
        ("1E-2", "0.01"),
        ("9007199254740993.0", "9007199254740992"),
        ("1e22", "10000000000000000000000"),
        ("true", "true"),
        ("false", "false"),
        ("1e400", "refused: bad_label"),
    ],
)
def test_a_value_names_the_same_class_in_every_form(form: Any, literal: str, name: str, tmp_path: Path) -> None:
    assert form(literal, tmp_path) == name


@pytest.mark.parametrize("form", [from_json, from_csv, from_sequences, from_labels_topic])
@pytest.mark.parametrize(("literal", "name"), [("9007199254740993", "9007199254740993"), ("7" * 20, "7" * 20)])
def test_a_whole_number_is_not_rounded_where_the_form_has_whole_numbers(
    form: Any, literal: str, name: str, tmp_path: Path
) -> None:
    assert form(literal, tmp_path) == name


@pytest.mark.parametrize("text", ["007", "+3", " 3", "3 ", "3.", ".5", "1_000", "nan", "inf", "0x10", "Yes", "٣", "up"])
def test_a_text_that_json_takes_for_no_number_stays_as_it_is(text: str) -> None:
    assert of_untyped(text) == text


@pytest.mark.parametrize(("text", "value"), [("True", True), ("TRUE", True), ("False", False), ("FALSE", False)])
def test_truth_values_as_spreadsheets_and_python_write_them_are_truth_values(text: str, value: bool) -> None:
    assert of_untyped(text) is value
