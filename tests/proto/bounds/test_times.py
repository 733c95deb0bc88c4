"""Event times: one rule for every format, in seconds, and bounded by the time of the record."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto.bounds.times import latest_times, moment, record_times, time_column
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Schema, TensorSpec

SCHEMA = Schema({"x": TensorSpec("x", "float64", ())}, "none")
NOW = 1.8e9
CLOUD = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"), ("ce_type", b"t"))


def decoded(values: list[bytes], headers: Headers = (), *, record_time: float = NOW, ahead: float = 60.0) -> Decoded:
    n = len(values)
    run = Records(Partition("t", 0), range(n), [record_time] * n, [None] * n, values, [headers] * n)
    return Decoder(SCHEMA, max_future_seconds=ahead).decode(run)


def said(result: Decoded) -> list[Any]:
    """The times of valid events, and the reasons of the others."""
    return [*result.batch.times.tolist(), *(one.reason for one in result.rejected)]


def in_json(time: float) -> Decoded:
    return decoded([json.dumps({"inputs": {"x": 1}, "time": time}).encode()])


def in_event(time: float) -> Decoded:
    return decoded(to_events(Batch({"x": np.ones(1)}, None, np.ones(1), np.array([time]))), EVENT_HEADERS)


def in_event_batch(time: float) -> Decoded:
    return decoded([to_event_batch(Batch({"x": np.ones(1)}, None, np.ones(1), np.array([time])))], EVENT_BATCH_HEADERS)


@pytest.mark.parametrize("form", [in_json, in_event, in_event_batch])
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1.7e9, 1.7e9),
        (1.7e12, 1.7e9),
        (1.7e15, 1.7e9),
        (1.7e18, 1.7e9),
        (0.0, 0.0),
        (5.5, 5.5),
        (NOW + 59, NOW + 59),
        (NOW + 61, "invalid_time"),
        ((NOW + 61) * 1e3, "invalid_time"),
        (NOW + 365 * 86_400, "invalid_time"),
        (1e15, 1e9),
        (-1.0, "invalid_time"),
        (1e20, "invalid_time"),
        (1.7e308, "invalid_time"),
    ],
)
def test_a_time_is_read_in_its_plausible_unit_and_bounded_in_every_form(form: Any, time: float, expected: Any) -> None:
    assert said(form(time)) == [expected]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("form", [in_event, in_event_batch])
def test_what_is_no_number_is_no_time(form: Any, time: float) -> None:
    assert said(form(time)) == ["bad_time"]


@pytest.mark.parametrize("time", ["true", '"1700000000"', '"2026-01-01"', "[]", "{}", '"\\ud800"'])
def test_what_json_has_beside_numbers_and_rfc_3339_is_no_time(time: str) -> None:
    (rejected,) = decoded([b'{"inputs": {"x": 1}, "time": %b}' % time.encode()]).rejected

    assert rejected.reason in ("bad_time", "malformed")


@pytest.mark.parametrize(
    ("time", "expected"),
    [("2027-01-15T08:00:00Z", NOW), ("2028-01-01T00:00:00Z", "invalid_time"), ("1969-12-31T23:59:59Z", "invalid_time")],
)
def test_rfc_3339_has_the_same_bounds_in_an_event_and_in_its_envelope(time: str, expected: Any) -> None:
    own = decoded([json.dumps({"inputs": {"x": 1}, "time": time}).encode()])
    enveloped = decoded([b'{"inputs": {"x": 1}}'], (*CLOUD, ("ce_time", time.encode())))

    assert said(own) == said(enveloped) == [expected]


def test_of_an_event_batch_only_the_events_out_of_bounds_are_left_out() -> None:
    times = np.array([NOW, NOW + 1e6, 1.7e12, -5.0])
    x = np.array([1.0, 2.0, 3.0, np.nan])

    result = decoded([to_event_batch(Batch({"x": x}, None, np.ones(4), times))], EVENT_BATCH_HEADERS)

    assert result.batch.times.tolist() == [NOW, 1.7e9]
    assert [(one.reason, one.rows) for one in result.rejected] == [("non_finite", (3,)), ("invalid_time", (1,))]


@pytest.mark.parametrize(("unknown", "own"), [(0.0, 0.0), (-0.001, 0.0), (17.0, 17.0)])
def test_a_record_without_a_time_of_day_bounds_nothing(unknown: float, own: float) -> None:
    values = [b'{"inputs": {"x": 1}, "time": 9e9}', b'{"inputs": {"x": 1}}']

    assert said(decoded(values, record_time=unknown)) == [9e9, own]


def test_a_time_stamp_of_a_record_in_another_unit_is_read_as_that() -> None:
    assert record_times([1.7e9, 1.7e12, 1.7e15, -1.0, 1e30]) == [1.7e9, 1.7e9, 1.7e9, 0.0, 0.0]


def test_without_a_log_only_the_fixed_bounds_hold() -> None:
    assert latest_times([5.0], None) is None
    assert time_column([9e10, None], [1.0, 2.0]).tolist() == [9e10, 2.0]


@given(seconds=st.floats(2e8, 9e9), unit=st.sampled_from([1.0, 1e3, 1e6, 1e9]))
def test_every_unit_of_a_time_of_these_centuries_is_recognised(seconds: float, unit: float) -> None:
    assert moment(seconds * unit, 0.0) == pytest.approx(seconds, rel=1e-12)


@given(value=st.floats() | st.text() | st.none(), default=st.floats(0, 1e10))
def test_a_time_is_within_the_bounds_or_refused(value: float | str | None, default: float) -> None:
    try:
        seconds = moment(value, default)
    except Refused as refused:
        seconds = 0.0 if refused.reason in ("bad_time", "invalid_time") else -1.0

    assert 0 <= seconds < 1e11
