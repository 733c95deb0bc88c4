"""Which traces are recorded, as OpenTelemetry's variables say; the SDK's own samplers agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import sampling as sdk
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from structlog.testing import capture_logs

from thalweg.ops.traces.sampling import KNOWN, Sampling
from thalweg.stream.traces.context import TraceContext

SDKS = {
    "always_on": sdk.ALWAYS_ON,
    "always_off": sdk.ALWAYS_OFF,
    "traceidratio": sdk.TraceIdRatioBased(0.25),
    "parentbased_always_on": sdk.DEFAULT_ON,
    "parentbased_always_off": sdk.DEFAULT_OFF,
    "parentbased_traceidratio": sdk.ParentBasedTraceIdRatio(0.25),
}


def sampling(name: str, argument: str = "0.25") -> Sampling:
    return Sampling({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})


@given(
    name=st.sampled_from(KNOWN),
    parent=st.builds(TraceContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 1)),
)
def test_below_a_span_the_decision_is_that_of_the_sdk(name: str, parent: TraceContext) -> None:
    above = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))
    context = set_span_in_context(NonRecordingSpan(above))

    expected = SDKS[name].should_sample(context, parent.trace_id, "name").decision.is_sampled()

    assert sampling(name).below(parent) == expected


@pytest.mark.parametrize("name", KNOWN)
def test_where_a_trace_begins_the_share_is_what_was_asked_for(name: str) -> None:
    found = sum(sampling(name).root() for _ in range(2000)) / 2000

    expected = {"on": 1.0, "off": 0.0}.get(name.rpartition("_")[2], 0.25)
    assert abs(found - expected) < (0.06 if expected == 0.25 else 1e-9)


def test_by_default_the_caller_decides_and_what_begins_here_is_recorded() -> None:
    usual = Sampling({})

    assert usual.root()
    assert usual.below(TraceContext(1, 1, 1))
    assert not usual.below(TraceContext(1, 1, 0))


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"OTEL_TRACES_SAMPLER": "some"}, "OTEL_TRACES_SAMPLER:"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"}, "OTEL_TRACES_SAMPLER_ARG:"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG:"),
    ],
)
def test_what_is_not_known_is_told_and_is_as_the_default(environment: dict[str, str], name: str) -> None:
    with capture_logs() as lines:
        made = Sampling(environment)

    assert made.root()
    assert [line["event"].startswith(name) for line in lines] == [True]
