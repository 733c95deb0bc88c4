"""Limits in bytes and in depth: the same in every form, and the record is rejected with its reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.limits import (
    MAX_HEADERS_BYTES,
    MAX_ID_BYTES,
    MAX_JSON_DEPTH,
    MAX_KEY_BYTES,
    MAX_LABEL_BYTES,
    MAX_LABEL_RECORD_BYTES,
    MAX_TEXT_BYTES,
)
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events, to_json
from thalweg.proto.event import Batch, ClassLabels, Decoded
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.labels.label_records import label_of
from thalweg.stream.sources.csv_events import CsvMapping
from thalweg.stream.sources.files import read_events

SCHEMA = Schema({"x": TensorSpec("x", "bytes", ())})
CLOUD = (("content-type", b"application/cloudevents+json"),)


def batch(*, id: str = "e", key: str = "k", label: str = "a", x: str = "t") -> Batch:
    column = np.array([x.encode()], dtype=object)
    return Batch({"x": column}, ClassLabels(np.zeros(1, np.int32), (label,)), np.ones(1), np.ones(1), [id], [key])


def decoded(value: bytes, headers: Headers = (), key: bytes | None = None) -> Decoded:
    return Decoder(SCHEMA).decode(Records(Partition("t", 0), [0], [9.0], [key], [value], [headers]))


def in_json(folder: Path, **fields: str) -> Decoded:
    return decoded(to_json(batch(**fields))[0])


def in_event(folder: Path, **fields: str) -> Decoded:
    return decoded(to_events(batch(**fields))[0], EVENT_HEADERS)


def in_event_batch(folder: Path, **fields: str) -> Decoded:
    return decoded(to_event_batch(batch(**fields)), EVENT_BATCH_HEADERS)


def in_cloudevent(folder: Path, **fields: str) -> Decoded:
    data = json.loads(to_json(batch(**fields))[0])
    envelope = {"specversion": "1.0", "type": "t", "source": "s", "id": data.pop("id"), "data": data}
    return decoded(json.dumps(envelope, ensure_ascii=False).encode(), CLOUD)


def in_csv(folder: Path, **fields: str) -> Decoded:
    row = {"x": "t", "id": "e", "key": "k", "label": "a"} | fields
    (folder / "a.csv").write_text(",".join(row) + "\n" + ",".join(f'"{text}"' for text in row.values()) + "\n")
    mapping = CsvMapping(id="id", key="key", inputs={"x": ["x"]})
    (found,) = read_events(folder / "a.csv", SCHEMA, mapping)
    return found


@pytest.mark.parametrize("form", [in_json, in_event, in_event_batch, in_csv])
@pytest.mark.parametrize(
    ("field", "most", "reason"),
    [("id", MAX_ID_BYTES, "bad_id"), ("key", MAX_KEY_BYTES, "bad_key"), ("label", MAX_LABEL_BYTES, "bad_label")],
)
@pytest.mark.parametrize("letter", ["a", "ü", "\U0001f30a"])
def test_ids_keys_and_classes_are_bounded_in_bytes_in_every_form(
    form: Any, field: str, most: int, reason: str, letter: str, tmp_path: Path
) -> None:
    whole = letter * (most // len(letter.encode()))

    assert form(tmp_path, **{field: whole}).rejected == []
    assert [one.reason for one in form(tmp_path, **{field: whole + letter}).rejected] == [reason]


def test_source_and_id_of_a_cloudevent_have_the_limit_of_ids_together(tmp_path: Path) -> None:
    whole = "a" * (MAX_ID_BYTES - len("s#"))

    assert in_cloudevent(tmp_path, id=whole).batch.ids == [f"s#{whole}"]
    assert [one.reason for one in in_cloudevent(tmp_path, id=whole + "a").rejected] == ["bad_id"]


@pytest.mark.parametrize("form", [in_json, in_event, in_event_batch, in_cloudevent])
def test_a_text_of_an_input_is_bounded(form: Any, tmp_path: Path) -> None:
    assert [one.reason for one in form(tmp_path, x="a" * (MAX_TEXT_BYTES + 1)).rejected] == ["too_large"]


@pytest.mark.parametrize("form", [in_json, in_event, in_event_batch, in_cloudevent, in_csv])
def test_the_empty_text_is_no_label(form: Any, tmp_path: Path) -> None:
    """It is also the answer of a model that knows no class."""
    labels = form(tmp_path, label="").batch.labels

    assert labels is not None
    assert not labels.present.any()


@pytest.mark.parametrize("form", [in_json, in_event, in_event_batch])
def test_the_key_of_a_record_has_the_limit_of_keys(form: Any) -> None:
    events = {in_json: to_json(batch(key=""))[0], in_event: to_events(batch(key=""))[0]}
    value = events.get(form, to_event_batch(batch(key="")))
    headers = {in_json: (), in_event: EVENT_HEADERS}.get(form, EVENT_BATCH_HEADERS)

    assert [one.reason for one in decoded(value, headers, b"k" * (MAX_KEY_BYTES + 1)).rejected] == ["bad_key"]


def test_headers_are_bounded_together() -> None:
    headers = [(f"h{place}", bytes(1000)) for place in range(MAX_HEADERS_BYTES // 1000 + 1)]

    assert [one.reason for one in decoded(to_json(batch())[0], headers).rejected] == ["too_large"]


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_time"])
@pytest.mark.parametrize("content", [b"a" * 3000, b"\xff"])
def test_an_attribute_of_a_cloudevent_is_bounded_and_utf8(name: str, content: bytes) -> None:
    headers = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"s", name: content}

    assert [one.reason for one in decoded(to_json(batch())[0], tuple(headers.items())).rejected] == ["malformed"]


@pytest.mark.parametrize(
    "value", [b'{"id": "%b", "label": 1}' % (b"a" * 1025), b'{"id": 1, "label": "%b"}' % (b"a" * 1025)]
)
def test_a_label_record_has_the_limits_of_events(value: bytes) -> None:
    with pytest.raises(Refused, match="at most 1024 bytes"):
        label_of(value, SCHEMA)


def test_a_label_record_is_bounded_as_a_whole() -> None:
    with pytest.raises(Refused) as refused:
        label_of(b'{"id": 1, "label": 1}' + b" " * MAX_LABEL_RECORD_BYTES, SCHEMA)

    assert refused.value.reason == "too_large"


@pytest.mark.parametrize("label", ['""', "null", "[]", '"\\ud800"', "[" * 100_000, "9" * 5000, "1e400"])
def test_a_label_record_without_a_class_is_refused(label: str) -> None:
    with pytest.raises(Refused):
        label_of(b'{"id": 1, "label": %b}' % label.encode(), SCHEMA)


NESTED = ["label", "trace"]


@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH, MAX_JSON_DEPTH + 1, 900, 100_000])
@pytest.mark.parametrize("field", NESTED)
def test_the_depth_of_a_record_has_a_limit_of_its_own_whoever_calls(field: str, depth: int) -> None:
    nested = b"[" * (depth - 1) + b"]" * (depth - 1)
    value = b'{"inputs": {"x": "t"}, "%b": %b}' % (field.encode(), nested)

    def deeper(calls: int) -> Decoded:
        return deeper(calls - 1) if calls else decoded(value)

    shallow, deep = decoded(value), deeper(sys.getrecursionlimit() // 2)

    assert [(one.reason, one.detail) for one in shallow.rejected] == [(one.reason, one.detail) for one in deep.rejected]
    ended = field == "trace" and depth <= MAX_JSON_DEPTH
    assert (shallow.rejected == []) == ended


@given(depth=st.integers(1, 12), strings=st.lists(st.text(alphabet='[]{}"\\a', max_size=6), max_size=8))
def test_brackets_in_texts_do_not_count(depth: int, strings: list[str]) -> None:
    value = json.dumps({"a": strings, "b": 1})
    for _ in range(depth):
        value = f"[{value}, {json.dumps(strings)}]"

    assert not too_deep(value.encode(), depth + 2)
    assert too_deep(value.encode(), depth + 1)


@pytest.mark.parametrize("headers", [(), CLOUD])
def test_a_byte_order_mark_before_a_record_says_nothing(headers: Headers) -> None:
    event: dict[str, Any] = {"inputs": {"x": "t"}, "label": "a"}
    if headers:
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": event}

    assert len(decoded(b"\xef\xbb\xbf" + json.dumps(event).encode(), headers).batch) == 1
    assert label_of(b'\xef\xbb\xbf{"id": 1, "label": 1}', SCHEMA).label == 1


def test_a_cloudevent_whose_content_type_is_null_has_the_usual_one() -> None:
    envelope = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "datacontenttype": None, "time": None}

    assert len(decoded(json.dumps({**envelope, "data": {"inputs": {"x": "t"}}}).encode(), CLOUD).batch) == 1


def test_a_key_may_be_a_whole_number_as_an_id_may() -> None:
    found = decoded(b'{"inputs": {"x": "t"}, "id": 17, "key": 42}').batch

    assert (found.ids, found.keys) == (["17"], ["42"])


@pytest.mark.parametrize(
    "text", ['"id": "\\ud800"', '"key": "\\ud800"', '"label": "\\udfff"', '"inputs": {"x": "\\ud800"}', '"t\\ud800": 1']
)
def test_a_lone_surrogate_anywhere_is_no_event(text: str) -> None:
    assert [one.row for one in decoded(b'{"inputs": {"x": "t"}, %b}' % text.encode()).rejected] == [0]
    enveloped = '{"specversion": "1.0", "type": "t", "source": "\\ud800", "id": "1", "data": {"inputs": {"x": "t"}}}'
    (refused,) = decoded(enveloped.encode(), CLOUD).rejected
    assert (refused.reason, "a lone surrogate" in refused.detail) == ("malformed", True)
    with pytest.raises(Refused, match=r"label: expected valid UTF-8, got .* a lone surrogate"):
        label_of(b'{"id": 1, "label": "\\ud800"}', SCHEMA)


@pytest.mark.parametrize(
    ("record", "named"), [(b'{"foo": 1}', "`pid`"), (b'{"id": "e-1"}', "`order.kept`"), (b'{"label": 1}', "`pid`")]
)
def test_what_a_label_lacks_is_told_by_the_names_of_the_senders_own_records(record: bytes, named: str) -> None:
    schema = Schema({"x": TensorSpec("x", "float32", (2,))}, "class", fields=FieldMapping(label="order.kept", id="pid"))

    with pytest.raises(Refused) as told:
        label_of(record, schema)

    assert named in str(told.value)
    assert "`id`" not in str(told.value)
    assert "`label`" not in str(told.value)
