"""A label means one class, whatever form its event or it itself comes in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.labels.test_joining import House
from thalweg.ops.serve.grpc_api.learning import _label as label_of_request
from thalweg.proto import thalweg_pb2
from thalweg.proto.columns import MISSING_LABELS, class_name, of_untyped
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch
from thalweg.proto.event import ClassLabels, Decoded
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import InputError, Schema, TensorSpec
from thalweg.stream.labels.label_records import label_of
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
    elif isinstance(value, str):
        event.label_text = value
    else:
        event.label_number = value
    return outcome([decoded(event.SerializeToString(), EVENT_HEADERS)])


def from_event_batch(literal: str, folder: Path) -> str:
    batch = decoded(b'{"inputs": {"x": [1, 2]}, "label": %b}' % literal.encode()).batch
    if not len(batch):
        return "refused: bad_label"
    return outcome([decoded(to_event_batch(batch), EVENT_BATCH_HEADERS)])


def from_label_call(literal: str, folder: Path) -> str:
    value = json.loads(literal)
    request = thalweg_pb2.LabelRequest(id="e1")
    if isinstance(value, bool):
        request.text = literal
    elif isinstance(value, str):
        request.text = value
    else:
        request.number = value
    try:
        said = label_of_request(request, SCHEMA)
    except InputError:
        return "refused: bad_label"
    record = label_of(json.dumps({"id": "e1", "label": said}).encode(), SCHEMA)
    return class_name(record.label)


FORMS = [
    from_json,
    from_csv,
    from_sequences,
    from_labels_topic,
    from_protobuf,
    from_event_batch,
    from_label_call,
]


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


plain = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1, max_size=6).filter(
    lambda text: (
        of_untyped(text) == text
        and text not in MISSING_LABELS
        and text[0] not in "\\'\""
        and "," not in text
        and '"' not in text
    )
)


@given(value=st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | plain)
@settings(max_examples=25)
def test_any_value_names_one_class_in_every_form(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    literal, folder = json.dumps(value, ensure_ascii=False), tmp_path_factory.mktemp("forms")
    in_a_field = value if isinstance(value, str) else literal

    said = {form.__name__: form(literal, folder) for form in FORMS if form is not from_csv}

    assert set(said.values()) | {from_csv(in_a_field, folder)} == {class_name(value)}


@pytest.mark.parametrize("text", ["", "NA", "nan"])
@pytest.mark.parametrize("form", [from_sequences, from_labels_topic, from_label_call])
def test_a_label_told_by_itself_is_never_a_missing_one(form: Any, text: str, tmp_path: Path) -> None:
    if form is from_sequences and text:
        assert form(f'"{text}"', tmp_path) == text  # the type of an event is always there
    else:
        assert form(f'"{text}"', tmp_path) == "refused: bad_label"


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
