"""Decoding: every form gives the same batch, whatever cannot be used is named, and nothing raises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thalweg.proto import thalweg_pb2
from thalweg.proto.decode import CONTENT_TYPE_EVENT, CONTENT_TYPE_EVENT_BATCH, Decoder
from thalweg.proto.encode import to_event_batch, to_events, to_json
from thalweg.proto.event import Batch, ClassLabels, NumberLabels, join
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Array, InputError, Schema, TensorSpec
from thalweg.proto.tensors import to_typed

SPECS = {"x": TensorSpec("x", "float32", (2,)), "n": TensorSpec("n", "int64", ())}
CLASSES = Schema(SPECS)
NUMBERS = Schema(SPECS, "number", 2)
EVENT = (("content-type", CONTENT_TYPE_EVENT),)
EVENT_BATCH = (("Content-Type", CONTENT_TYPE_EVENT_BATCH),)


def records(
    values: Sequence[bytes | None], headers: Headers = (), *, keys: Sequence[bytes | None] | None = None
) -> Records:
    count = len(values)
    times = [100.0 + i for i in range(count)]
    return Records(Partition("t", 0), range(count), times, keys or [None] * count, values, [headers] * count)


def one(value: Any, headers: Headers = (), schema: Schema = CLASSES) -> Any:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Decoder(schema).decode(records([content], headers))


def same(a: Batch, b: Batch) -> None:
    assert a.inputs.keys() == b.inputs.keys()
    for name in a.inputs:
        np.testing.assert_array_equal(a.inputs[name], b.inputs[name])
        assert a.inputs[name].dtype == b.inputs[name].dtype
    np.testing.assert_array_equal(a.times, b.times)
    np.testing.assert_array_equal(a.weights, b.weights)
    assert list(a.ids or [None] * len(a)) == list(b.ids or [None] * len(b))
    assert list(a.keys or [None] * len(a)) == list(b.keys or [None] * len(b))
    if isinstance(a.labels, ClassLabels) and isinstance(b.labels, ClassLabels):
        assert named(a) == named(b)
    elif isinstance(a.labels, NumberLabels) and isinstance(b.labels, NumberLabels):
        np.testing.assert_array_equal(a.labels.values, b.labels.values)
    else:
        assert a.labels is b.labels is None


def named(batch: Batch) -> list[str | None]:
    assert isinstance(batch.labels, ClassLabels)
    return [batch.labels.names[code] if code >= 0 else None for code in batch.labels.codes]


finite = st.floats(-1e6, 1e6, width=32)
events = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.tuples(finite, finite),
            "n": st.integers(-(2**63), 2**63 - 1),
            "id": st.none() | st.text(min_size=1, max_size=4),
            "key": st.none() | st.text(min_size=1, max_size=4),
            "time": st.floats(0, 2e9),
            "weight": st.floats(0, 10),
            "class": st.none() | st.sampled_from(["a", "3", "ü b"]),
            "numbers": st.none() | st.tuples(finite, finite),
        }
    ),
    min_size=1,
    max_size=8,
)


def batch_of(rows: list[dict[str, Any]], schema: Schema) -> Batch:
    table: dict[str, int] = {}
    labels: Any = ClassLabels(
        np.array([-1 if r["class"] is None else table.setdefault(r["class"], len(table)) for r in rows], np.int32),
        tuple(table),
    )
    if schema.label == "number":
        labels = NumberLabels(np.array([r["numbers"] or (np.nan, np.nan) for r in rows], np.float64))
    inputs: dict[str, Array] = {
        "x": np.array([r["x"] for r in rows], np.float32),
        "n": np.array([r["n"] for r in rows], np.int64),
    }
    return Batch(
        inputs,
        labels,
        np.array([r["weight"] for r in rows]),
        np.array([r["time"] for r in rows]),
        [r["id"] for r in rows],
        [r["key"] for r in rows],
    )


@given(rows=events, schema=st.sampled_from([CLASSES, NUMBERS]), cut=st.integers(0, 8))
def test_every_form_of_the_same_events_decodes_to_the_same_batch(
    rows: list[dict[str, Any]], schema: Schema, cut: int
) -> None:
    batch = batch_of(rows, schema)
    decoder = Decoder(schema)
    in_two = [to_event_batch(part) for part in (batch[:cut], batch[cut:]) if len(part)]

    for values, headers in (
        (to_json(batch), ()),
        (to_events(batch), EVENT),
        ([to_event_batch(batch)], EVENT_BATCH),
        (in_two, EVENT_BATCH),
    ):
        decoded = decoder.decode(records(values, headers))
        assert decoded.rejected == []
        same(decoded.batch, batch)


@pytest.mark.parametrize("shape", [(), (2,), (2, 1)])
@pytest.mark.parametrize("dtype", ["bytes", "float32", "bool"])
def test_inputs_of_every_dtype_and_shape_come_back_from_every_form(dtype: str, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    texts = [f"süd {i}".encode() for i in range(3 * size)]
    column = np.array(texts, dtype=object) if dtype == "bytes" else np.arange(3 * size).astype(dtype)
    batch = Batch({"v": column.reshape(3, *shape)}, None, np.ones(3), np.arange(3.0), ["a", "b", "c"])
    decoder = Decoder(Schema({"v": TensorSpec("v", dtype, shape)}, "class"))

    for values, headers in (
        (to_json(batch), ()),
        (to_events(batch), EVENT),
        ([to_event_batch(batch)], EVENT_BATCH),
    ):
        decoded = decoder.decode(records(values, headers))
        assert decoded.rejected == []
        assert decoded.batch.inputs["v"].tolist() == batch.inputs["v"].tolist()


def test_forms_may_be_mixed_in_one_run_and_order_is_kept() -> None:
    def event(i: int) -> dict[str, Any]:
        return {"inputs": {"x": [i, 0], "n": i}, "label": i}

    batch = Decoder(CLASSES).decode(records([json.dumps(event(i)).encode() for i in range(5)])).batch
    values = [*to_json(batch[0:1]), to_event_batch(batch[1:3]), *to_events(batch[3:4]), *to_json(batch[4:5])]
    run = Records(Partition("t", 0), range(4), [0.0] * 4, [None] * 4, values, [(), EVENT_BATCH, EVENT, ()])

    decoded = Decoder(CLASSES).decode(run)

    assert decoded.batch.inputs["n"].tolist() == [0, 1, 2, 3, 4]
    assert named(decoded.batch) == ["0", "1", "2", "3", "4"]


GOOD = {"inputs": {"x": [1, 2], "n": 3}}


@pytest.mark.parametrize(
    ("value", "reason", "text"),
    [
        (b"{not json", "malformed", ""),
        (b"[]", "malformed", "object"),
        (b"\xff\xfe", "malformed", ""),
        (b"[" * 100_000, "malformed", ""),
        (b"  ", "malformed", ""),
        (b"", "empty", "no value"),
        ({}, "missing_input", "inputs"),
        ({"inputs": {"x": [1, 2]}}, "missing_input", "n"),
        ({"inputs": {"x": [1, 2], "n": 3, "z": 4}}, "unknown_input", "z"),
        ({"inputs": {"x": [1, 2, 3], "n": 3}}, "wrong_shape", "length"),
        ({"inputs": {"x": [1], "n": 3}}, "wrong_shape", "length"),
        ({"inputs": {"x": [[1, 2]], "n": 3}}, "wrong_shape", "array"),
        ({"inputs": {"x": 1, "n": 3}}, "wrong_shape", "array"),
        ({"inputs": {"x": ["1", 2], "n": 3}}, "wrong_dtype", "float"),
        ({"inputs": {"x": [None, 2], "n": 3}}, "wrong_dtype", "float"),
        ({"inputs": {"x": [1, 2], "n": 3.5}}, "wrong_dtype", "int"),
        (b'{"inputs": {"x": [NaN, 2], "n": 3}}', "non_finite", "inputs.x.0: NaN is not allowed in JSON"),
        (b'{"inputs": {"x": [Infinity, 2], "n": 3}}', "non_finite", "Infinity is not allowed"),
        ({**GOOD, "label": "\ud800"}, "malformed", "label: expected valid UTF-8, got '\\ud800', a lone surrogate"),
        ({**GOOD, "label": "\ud800a"}, "malformed", "a lone surrogate"),
        ({"inputs": {"x": [1e39, 2], "n": 3}}, "non_finite", "got 1e+39, which is beyond its range"),
        ({**GOOD, "label": [1]}, "bad_label", "string or a finite number"),
        ({**GOOD, "label": {"a": 1}}, "bad_label", ""),
        ({**GOOD, "time": "yesterday"}, "bad_time", "RFC 3339"),
        ({**GOOD, "time": "2024-01-01T00:00:00"}, "bad_time", "zone"),
        ({**GOOD, "time": []}, "bad_time", ""),
        ({**GOOD, "weight": -1}, "bad_weight", "at least 0"),
        ({**GOOD, "weight": "heavy"}, "bad_weight", ""),
    ],
)
def test_a_record_that_cannot_be_used_is_named_with_its_reason_and_the_others_are_taken(
    value: Any, reason: str, text: str
) -> None:
    bad = value if isinstance(value, bytes) else json.dumps(value).encode()
    good = json.dumps(GOOD).encode()

    decoded = Decoder(CLASSES).decode(records([good, bad, good]))

    assert len(decoded.batch) == 2
    assert [(r.row, r.reason) for r in decoded.rejected] == [(1, reason)]
    assert text in decoded.rejected[0].detail


def test_records_that_only_together_are_json_are_not_taken_for_events() -> None:
    good = json.dumps(GOOD).encode()

    decoded = Decoder(CLASSES).decode(records([good + b"," + good, b'{"id": "', b'", ' + good[1:]]))

    assert len(decoded.batch) == 0
    assert [r.row for r in decoded.rejected] == [0, 1, 2]
    lines = Decoder(CLASSES).decode(records([good + b"\n" + good, b" "]))
    assert [r.row for r in lines.rejected] == [0, 1]


texts = st.lists(
    st.sampled_from([json.dumps({**GOOD, "id": "a"}), json.dumps(GOOD, indent=1), "{}", "[1, 2]", '"', "", " "]),
    min_size=1,
    max_size=4,
)


@given(parts=texts, between=st.sampled_from(["", " ", ",", "\n"]), cuts=st.lists(st.integers(0, 250), max_size=5))
@example(parts=[json.dumps(GOOD)] * 3, between=" ", cuts=[5, 50])  # two halves, and then two events in one record
@example(parts=[json.dumps(GOOD)] * 2, between=" ", cuts=[81])  # two events, and then a blank record
def test_wherever_a_text_is_cut_into_records_each_means_what_it_means_alone(
    parts: list[str], between: str, cuts: list[int]
) -> None:
    whole = (between.join(parts) + " ").encode()
    ends = sorted({cut for cut in cuts if cut < len(whole)})
    values = [whole[start:end] for start, end in zip([0, *ends], [*ends, len(whole)])]
    decoder = Decoder(CLASSES)

    together = decoder.decode(records(values))
    alone = [decoder.decode(records([value])) for value in values]

    assert [r.row for r in together.rejected] == [row for row, one in enumerate(alone) if one.rejected]
    assert [r.reason for r in together.rejected] == [r.reason for one in alone for r in one.rejected]
    assert together.batch.inputs["x"].tolist() == [x for one in alone for x in one.batch.inputs["x"].tolist()]
    assert len(together.batch) + len(together.rejected) == len(values)


def test_a_pretty_printed_event_is_an_event() -> None:
    decoded = Decoder(CLASSES).decode(records([json.dumps(GOOD, indent=2).encode()] * 2))

    assert len(decoded.batch) == 2


@pytest.mark.parametrize(
    ("label", "name"),
    [("a", "a"), (3, "3"), (3.0, "3"), ("3", "3"), (2.5, "2.5"), (True, "true"), (False, "false"), (-1, "-1")],
)
def test_a_class_has_one_name_however_the_label_is_written(label: Any, name: str) -> None:
    assert named(one({**GOOD, "label": label}).batch) == [name]


def test_labels_of_a_new_type_in_a_regression_are_refused_and_numbers_taken() -> None:
    decoded = Decoder(NUMBERS).decode(
        records(
            [json.dumps({**GOOD, "label": label}).encode() for label in ([1, 2], "cat", 3, [1, 2, 3], [1, "b"], None)]
        )
    )

    assert [r.reason for r in decoded.rejected] == ["bad_label"] * 4
    assert isinstance(decoded.batch.labels, NumberLabels)
    np.testing.assert_array_equal(decoded.batch.labels.values, [[1, 2], [np.nan, np.nan]])


def test_what_an_event_leaves_out_comes_from_its_record() -> None:
    run = records(
        [json.dumps(GOOD).encode(), json.dumps({**GOOD, "key": "own", "id": 7}).encode()], keys=[b"r", b"\xff"]
    )

    batch = Decoder(CLASSES).decode(run).batch

    assert batch.times.tolist() == [100.0, 101.0]
    assert batch.keys == ["r", "own"]
    assert batch.ids == [None, "7"]
    assert batch.weights.tolist() == [1.0, 1.0]


def test_times_are_unix_seconds_or_rfc_3339() -> None:
    values = [
        json.dumps({**GOOD, "time": t}).encode()
        for t in (5, 5.5, "1970-01-01T00:00:05Z", "1970-01-01T01:00:05.5+01:00")
    ]

    assert Decoder(CLASSES).decode(records(values)).batch.times.tolist() == [5, 5.5, 5, 5.5]


def test_a_cloudevent_in_binary_mode_carries_identity_and_time_in_its_headers() -> None:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"17"),
        ("ce_source", b"/shop"),
        ("ce_type", b"sale"),
        ("ce_time", b"1970-01-01T00:01:00Z"),
        ("content-type", b"application/json"),
    )

    batch = one({**GOOD, "label": "a"}, headers).batch

    assert batch.ids == ["/shop#17"]
    assert batch.times.tolist() == [60.0]
    assert named(batch) == ["a"]
    protobuf = dict(headers) | {"content-type": CONTENT_TYPE_EVENT}
    same(
        one(to_events(Batch(batch.inputs, batch.labels, batch.weights, batch.times))[0], list(protobuf.items())).batch,
        batch,
    )


def test_a_structured_cloudevent_carries_the_event_as_data() -> None:
    envelope = {"specversion": "1.0", "id": "17", "source": "/shop", "type": "sale", "time": "1970-01-01T00:01:00Z"}
    headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)

    batch = one({**envelope, "data": GOOD}, headers).batch

    assert (batch.ids, batch.times.tolist()) == (["/shop#17"], [60.0])


@pytest.mark.parametrize(
    ("headers", "value", "text"),
    [
        ((("ce_id", b"1"), ("ce_specversion", b"1.0")), GOOD, "ce_source"),
        ((("ce_id", b"1"), ("ce_source", b"s"), ("ce_specversion", b"2.0")), GOOD, "specversion"),
        ((("content-type", b"application/cloudevents+json"),), {"data": GOOD}, "missing"),
        (
            (("content-type", b"application/cloudevents+json"),),
            {"specversion": "1.0", "id": "1", "source": "s", "type": "t"},
            "neither",
        ),
        (
            (("content-type", b"application/cloudevents-batch+json"),),
            [{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": GOOD}],
            "Kafka has no batches",
        ),
    ],
)
def test_a_broken_cloudevent_is_malformed(headers: Headers, value: Any, text: str) -> None:
    rejected = one(value, headers).rejected

    assert [r.reason for r in rejected] == ["malformed"]
    assert text in rejected[0].detail


def event_batch(**changes: Any) -> bytes:
    message = thalweg_pb2.EventBatch(
        events=3, class_names=["a", "b"], class_codes=np.array([0, 1, -1], "<i4").tobytes()
    )
    for name, array in (("x", np.ones((3, 2), "<f4")), ("n", np.arange(3))):
        message.inputs.add(name=name, datatype="FP32" if name == "x" else "INT64", shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    for name, value in changes.items():
        message.ClearField(name)
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("value", "reason", "text"),
    [
        (b"\xff\xff\xff", "malformed", "EventBatch"),
        (event_batch(events=4), "wrong_shape", "expected 4 rows"),
        (event_batch(events=1 << 31), "malformed", "expected at most one for each of the record's"),
        (event_batch(raw_input_contents=[b"123", b""]), "wrong_shape", "expected 24 bytes"),
        (event_batch(raw_input_contents=[]), "wrong_shape", "values in fp32_contents"),
        (event_batch(inputs=[], raw_input_contents=[]), "missing_input", "'x'"),
        (event_batch(class_codes=np.array([0, 2, 0], "<i4").tobytes()), "bad_label", "expected -1 to 1"),
        (event_batch(class_codes=b"123"), "bad_label", "expected 12 bytes"),
        (event_batch(class_names=["a", "a"]), "bad_label", "twice"),
        (event_batch(ids=["one"]), "malformed", "expected 3, got 1"),
        (event_batch(times=b"12345678"), "malformed", "expected 24 bytes"),
        (event_batch(times=np.full(3, np.inf).tobytes()), "bad_time", "finite"),
        (event_batch(weights=np.full(3, -1.0).tobytes()), "bad_weight", "at least 0"),
        (event_batch(label_numbers=bytes(8)), "bad_label", "class labels"),
    ],
)
def test_a_broken_event_batch_is_named_with_its_reason(value: bytes, reason: str, text: str) -> None:
    decoded = one(value, EVENT_BATCH)

    assert [(r.row, r.reason) for r in decoded.rejected] == [(0, reason)]
    assert text in decoded.rejected[0].detail
    assert len(decoded.batch) == 0


def test_events_of_nothing_take_no_memory_for_a_record_of_a_few_bytes() -> None:
    """All of a table's columns may be missing: five bytes would be four thousand million events."""
    schema = Schema(
        {"amount": TensorSpec("amount", "float64", ())},
        "class",
        columns={"amount": Column(name="amount", kind="numeric")},
    )
    value = thalweg_pb2.EventBatch(events=(1 << 32) - 1).SerializeToString()

    (rejected,) = Decoder(schema).decode(records([value], EVENT_BATCH)).rejected

    assert rejected.reason == "malformed"
    assert "expected at most one for each of the record's 6 bytes, got 4294967295" in rejected.detail


def test_of_an_event_batch_only_the_events_that_are_not_finite_are_left_out() -> None:
    x = np.ones((3, 2), "<f4")
    x[1, 0] = np.nan
    message = thalweg_pb2.EventBatch.FromString(event_batch())
    message.raw_input_contents[0] = x.tobytes()

    decoded = one(message.SerializeToString(), EVENT_BATCH)

    assert [(r.reason, r.rows) for r in decoded.rejected] == [("non_finite", (1,))]
    assert decoded.batch.inputs["n"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("shape", "raw"), [([1] * 32, bytes(4)), ([1] * 64, bytes(4)), ([1] * 65, bytes(4)), ([2**62, 0], b"")]
)
@pytest.mark.parametrize("headers", [EVENT, EVENT_BATCH])
def test_a_shape_beyond_all_arrays_is_refused_not_raised(shape: list[int], raw: bytes, headers: Headers) -> None:
    message = thalweg_pb2.Event() if headers == EVENT else thalweg_pb2.EventBatch(events=1)
    message.inputs.add(name="x", datatype="FP32", shape=shape)
    message.inputs.add(name="n", datatype="INT64", shape=[] if headers == EVENT else [1])
    message.raw_input_contents.extend([raw, bytes(8)])

    assert [r.row for r in one(message.SerializeToString(), headers).rejected] == [0]


def test_a_header_without_a_value_is_one_that_is_not_there() -> None:
    headers: Any = (("content-type", None), ("traceparent", None))

    assert len(one(GOOD, headers).batch) == 1


def test_an_event_batch_is_not_copied() -> None:
    batch = one(event_batch(), EVENT_BATCH).batch

    assert batch.inputs["x"].base is not None
    assert not batch.inputs["x"].flags.owndata


def test_a_record_of_ten_megabytes_is_measured_against_the_schema_or_the_limit() -> None:
    value = json.dumps({"inputs": {"x": [0.5] * 2_500_000, "n": 1}}).encode()
    assert len(value) > 10_000_000

    assert [r.reason for r in one(value).rejected] == ["wrong_shape"]
    limited = Decoder(CLASSES, max_record_bytes=1000).decode(records([value]))
    assert [r.reason for r in limited.rejected] == ["too_large"]
    assert "1000 bytes" in limited.rejected[0].detail


garbage_headers = st.sampled_from(
    [
        (),
        EVENT,
        EVENT_BATCH,
        (("content-type", b"application/cloudevents+json"),),
        (("ce_id", b"1"), ("ce_source", b"s")),
    ]
)


@given(values=st.lists(st.none() | st.binary(max_size=60), max_size=5), headers=garbage_headers)
def test_whatever_bytes_come_nothing_raises_and_every_record_is_accounted_for(
    values: list[bytes | None], headers: Headers
) -> None:
    decoded = Decoder(CLASSES).decode(records(values, headers))

    found = len({r.row for r in decoded.rejected}) + decoded.tombstones + len(decoded.batch)
    assert found >= len(values) or headers == EVENT_BATCH


@given(
    flips=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4), form=st.integers(0, 2)
)
def test_damaged_records_never_raise(flips: list[tuple[int, int]], form: int) -> None:
    batch = one({**GOOD, "label": "a", "id": "e"}).batch
    values = [to_json(batch)[0], to_events(batch)[0], to_event_batch(batch)]
    value = bytearray(values[form])
    for place, byte in flips:
        value[place % len(value)] = byte

    Decoder(CLASSES).decode(records([bytes(value)], ((), EVENT, EVENT_BATCH)[form]))


def test_an_event_schema_needs_fixed_shapes() -> None:
    with pytest.raises(InputError, match="fixed shape"):
        Decoder(Schema({"x": TensorSpec("x", "float32", (-1,))}))


def test_joining_batches_keeps_every_column() -> None:
    a, b = one({**GOOD, "label": "a", "id": "1"}).batch, one({**GOOD, "label": "b", "key": "k"}).batch

    joined = join([a, b, a])

    assert named(joined) == ["a", "b", "a"]
    assert joined.ids == ["1", None, "1"]
    assert joined.keys == [None, "k", None]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"inputs": {"x": [1e400, 2], "n": 3}}', "non_finite"),
        (b'{"inputs": {"x": [' + b"9" * 400 + b', 2], "n": 3}}', "non_finite"),
        (b'{"inputs": {"x": [1, 2], "n": 9223372036854775808}}', "wrong_dtype"),
        (b'{"inputs": {"x": [1, 2], "n": ' + b"9" * 5000 + b"}}", "wrong_dtype"),
        (b'{"inputs": {"x": [1, 2], "n": true}}', "wrong_dtype"),
        (b'{"inputs": {"x": [1, 2], "n": 3}, "label": ' + b"9" * 5000 + b"}", "bad_label"),
        (b'{"inputs": {"x": [1, 2], "n": 3}, "label": 1e400}', "bad_label"),
        (b'{"inputs": {"x": [1, 2], "n": 3}, "id": ' + b"9" * 5000 + b"}", "malformed"),
        (b'{"inputs": {"x": [1, 2], "n": 3}, "id": "\\ud800"}', "malformed"),
        (b'{"inputs": {"x": [1, 2], "n": 3}, "time": 1e400}', "bad_time"),
        (b'{"inputs": {"x": [1, 2], "n": 3}, "weight": 1e400}', "bad_weight"),
        (b'{"inputs": {"x": [1, 2], "n": 3}, "other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed"),
    ],
)
def test_numbers_without_end_and_depths_without_floor_are_refused_for_what_they_are(value: bytes, reason: str) -> None:
    assert [r.reason for r in one(value).rejected] == [reason]


def test_a_regression_label_beyond_every_float_is_a_bad_label() -> None:
    assert [r.reason for r in one({**GOOD, "label": [1, 10**400]}, schema=NUMBERS).rejected] == ["bad_label"]


@pytest.mark.parametrize("number", [3, 3.0, 1e3, -(2**63), 2**63 - 1])
def test_whole_numbers_are_integers_however_they_are_written_and_lose_no_digit(number: float) -> None:
    assert one({"inputs": {"x": [1, 2], "n": number}}).batch.inputs["n"].tolist() == [int(number)]


def test_of_duplicate_keys_the_last_counts_and_unknown_keys_are_left_to_later_versions() -> None:
    value = b'{"inputs": {"x": [9, 9], "n": 9}, "trace": {"a": [1]}, "inputs": {"x": [1, 2], "n": 3}}'

    assert one(value).batch.inputs["x"].tolist() == [[1, 2]]


def test_numbers_whose_squares_overflow_are_finite_all_the_same() -> None:
    schema = Schema({"u": TensorSpec("u", "float64", (2,))})

    assert one({"inputs": {"u": [1e300, -1e300]}}, schema=schema).batch.inputs["u"].tolist() == [[1e300, -1e300]]


def test_null_and_empty_mean_absent_so_that_no_two_events_share_the_identity_nothing() -> None:
    nothing = json.dumps({**GOOD, "id": "", "key": "", "time": None, "label": None, "weight": None}).encode()

    batch = Decoder(CLASSES).decode(records([nothing, nothing], keys=[b"k", b""])).batch

    assert (batch.ids, batch.keys) == (None, ["k", None])
    assert (batch.times.tolist(), batch.weights.tolist()) == ([100, 101], [1, 1])


def test_a_complaint_about_a_long_name_is_short() -> None:
    assert len(one({"inputs": {"x": [1, 2], "n": 3, "z" * 1_000_000: 1}}).rejected[0].detail) <= 1000


@given(bad=st.sets(st.integers(0, 39)), form=st.sampled_from(["json", "event"]))
def test_wherever_bad_records_stand_the_others_are_taken_in_order(bad: set[int], form: str) -> None:
    whole = Decoder(CLASSES).decode(
        records([json.dumps({"inputs": {"x": [i, 0], "n": i}, "label": i % 3}).encode() for i in range(40)])
    )
    values = to_json(whole.batch) if form == "json" else to_events(whole.batch)
    for row in bad:
        values[row] = b"\xff{" if row % 2 else values[row][:-1]

    decoded = Decoder(CLASSES).decode(records(values, () if form == "json" else EVENT))

    assert [r.row for r in decoded.rejected] == sorted(bad)
    same(decoded.batch, whole.batch.take(np.array([i for i in range(40) if i not in bad], dtype=np.int64)))


@given(rows=events, turn=st.booleans(), typed=st.booleans())
def test_events_decode_alike_one_by_one_and_together_in_any_order_of_inputs(
    rows: list[dict[str, Any]], turn: bool, typed: bool
) -> None:
    batch = batch_of(rows, CLASSES)
    values = to_events(batch)
    message = thalweg_pb2.Event.FromString(values[0])
    if turn:
        message.inputs.reverse()
        message.raw_input_contents.reverse()
    if typed:
        del message.raw_input_contents[:]
        for tensor in message.inputs:
            to_typed(batch.inputs[tensor.name][0], tensor.contents)
    values[0] = message.SerializeToString()

    together = Decoder(CLASSES).decode(records(values, EVENT))
    alone = [Decoder(CLASSES).decode(records([value], EVENT)).batch for value in values]

    assert together.rejected == []
    same(together.batch, batch)
    same(join(alone), batch)


@pytest.mark.parametrize(
    "content_type",
    [
        b'application/protobuf; messageType="thalweg.v1.EventBatch"',
        b"Application/Protobuf;messagetype=thalweg.v1.EventBatch; charset=binary",
        b"application/x-protobuf; messageType=thalweg.v1.EventBatch",
    ],
)
@pytest.mark.parametrize("header", ["content-type", "Content-Type"])
def test_a_content_type_is_read_as_http_would(content_type: bytes, header: str) -> None:
    assert len(one(event_batch(), ((header, content_type),)).batch) == 3


def test_protobuf_of_another_message_is_malformed_by_name() -> None:
    rejected = one(event_batch(), (("content-type", b"application/protobuf; messageType=acme.Foo"),)).rejected

    assert [r.reason for r in rejected] == ["malformed"]
    assert "acme.foo" in rejected[0].detail.lower()


def test_a_cloudevent_may_say_its_content_type_among_its_own_headers() -> None:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"s"),
        ("ce_datacontenttype", CONTENT_TYPE_EVENT_BATCH),
    )

    assert len(one(event_batch(), headers).batch) == 3


def test_events_know_their_place_in_the_log_however_they_are_cut_and_joined() -> None:
    def event(i: int) -> bytes:
        return json.dumps({"inputs": {"x": [i, 0], "n": i}, "label": i}).encode()

    decoder = Decoder(CLASSES)
    plain = decoder.decode(records([event(0), b"garbage", event(2)])).batch
    many = to_event_batch(join([plain, plain]))
    other = Records(Partition("u", 3), [7, 9], [0.0, 0.0], [None, None], [many, many], [EVENT_BATCH, EVENT_BATCH])
    both = join([plain, decoder.decode(other).batch])

    pieces = list(both[1:].micro_batches(3))

    assert both.places is not None
    assert both.places.partitions == (Partition("t", 0), Partition("u", 3))
    assert both.places.which.tolist() == [0, 0] + [1] * 8
    assert both.places.offsets.tolist() == [0, 2] + [7] * 4 + [9] * 4
    assert [offset for piece in pieces for offset in piece.places.offsets.tolist()] == both.places.offsets.tolist()[1:]
    assert both.take(np.array([9, 0])).places.offsets.tolist() == [9, 0]
    assert join([both, replace(plain, places=None)]).places is None


def test_a_framed_record_where_no_registry_is_configured_says_what_is_missing() -> None:
    good = json.dumps(GOOD).encode()

    decoded = Decoder(CLASSES).decode(records([good, b"\x00\x00\x00\x00\x07" + good, b"{not json", good]))

    assert [one.row for one in decoded.rejected] == [1, 2]
    assert "framed for a schema registry (schema 7)? log.registry.url is not set" in decoded.rejected[0].detail
    assert "registry" not in decoded.rejected[1].detail
    assert len(decoded.batch) == 2


def test_records_without_a_time_of_their_own_or_with_a_key_that_is_no_text_are_events() -> None:
    good = json.dumps(GOOD).encode()
    run = Records(Partition("t", 0), range(3), [-0.001, 0.0, 5.0], [b"\xff", b"k", None], [good] * 3, [()] * 3)

    decoded = Decoder(CLASSES).decode(run)

    assert decoded.rejected == []
    assert decoded.batch.times.tolist() == [0.0, 0.0, 5.0]
    assert decoded.batch.keys == ["\\xff", "k", None]
