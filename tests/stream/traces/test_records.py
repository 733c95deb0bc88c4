"""Which records belong to a trace."""

from __future__ import annotations

import json

import pytest

from tests.stream.traces.test_context import CONTEXT, GOOD, SPAN
from thalweg.proto.records import Headers, Partition, Records
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.records import LOOKED_AT, traced

OTHER = GOOD.replace(SPAN, "00f067aa0ba902b7").encode()
STRUCTURED = ("content-type", b"application/cloudevents+json; charset=utf-8")


def run(*headers: Headers, value: bytes | None = b"{}") -> Records:
    count = len(headers)
    return Records(Partition("t", 0), range(count), [0.0] * count, [None] * count, [value] * count, headers)


def cloud_event(traceparent: str) -> bytes:
    return json.dumps({"specversion": "1.0", "traceparent": traceparent, "data": {}}).encode()


def one(records: Records) -> TraceContext | None:
    found = list(traced(records))
    return found[0][1] if found else None


def test_a_header_of_the_record_says_so() -> None:
    found = list(traced(run((), (("traceparent", GOOD.encode()),), (("other", b"1"),))))

    assert found == [(1, CONTEXT)]


def test_a_cloud_event_says_so_by_its_attribute() -> None:
    binary = run((("ce_id", b"1"), ("ce_traceparent", GOOD.encode())))
    structured = run((STRUCTURED,), value=cloud_event(GOOD))

    assert one(binary) == one(structured) == CONTEXT


def test_the_header_of_the_record_comes_before_the_attribute_of_the_event() -> None:
    assert one(run((("ce_traceparent", OTHER), ("traceparent", GOOD.encode())))) == CONTEXT
    assert one(run((("traceparent", GOOD.encode()), STRUCTURED), value=cloud_event(OTHER.decode()))) == CONTEXT


@pytest.mark.parametrize(
    "headers",
    [
        (("traceparent", b"00-nonsense"),),
        (("traceparent", b""),),
        (("traceparent", GOOD.encode()), ("traceparent", OTHER)),
        (("Traceparent", GOOD.encode()),),
        (STRUCTURED,),
    ],
)
def test_a_record_without_one_sound_context_belongs_to_none(headers: Headers) -> None:
    assert one(run(headers)) is None


def test_a_text_in_an_event_of_another_kind_is_data() -> None:
    assert one(run((("content-type", b"application/json"),), value=cloud_event(GOOD))) is None


def test_a_tombstone_with_the_content_type_of_an_event_is_no_error() -> None:
    assert one(run((STRUCTURED,), value=None)) is None


@pytest.mark.parametrize("count", [1, LOOKED_AT, LOOKED_AT + 1, 10_000])
def test_of_a_busy_stream_a_sample_is_looked_at(count: int) -> None:
    found = list(traced(run(*[(("traceparent", GOOD.encode()),)] * count)))

    assert min(count, LOOKED_AT // 2) <= len(found) <= LOOKED_AT
