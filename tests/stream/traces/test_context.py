"""`traceparent`, as W3C Trace Context says: what is malformed is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.traces.context import TraceContext, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
CONTEXT = TraceContext(int(TRACE, 16), int(SPAN, 16), 1)


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # a flag that is not known yet
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01", True),  # a version that is not known yet …
        (f"cc-{TRACE}-{SPAN}-01-what-more-it-may-say", True),
    ],
)
def test_a_context_is_read(value: str, sampled: bool) -> None:
    assert parse(value) == parse(value.encode()) == CONTEXT._replace(flags=int(sampled))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "00",
        GOOD[:-1],
        GOOD + "-",
        GOOD + "-more",  # the first version has no more
        GOOD + " ",
        " " + GOOD,
        GOOD + "\n",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"cc-{TRACE}-{SPAN}-01more",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 1000,
        GOOD.replace("0", "\u0660"),
    ],
)
def test_what_is_malformed_is_ignored(value: str | None) -> None:
    assert parse(value) is None


def test_bytes_that_are_no_text_are_ignored() -> None:
    assert parse(b"\xff\x00" * 28) is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 1))
def test_what_is_written_is_read_again(trace_id: int, span_id: int, flags: int) -> None:
    context = TraceContext(trace_id, span_id, flags)

    assert parse(context.header) == context


@given(st.binary(max_size=80))
def test_no_bytes_raise(value: bytes) -> None:
    parse(value)
