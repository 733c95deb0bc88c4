"""Pages of metrics are what prometheus_client makes of the same figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

import thalweg.ops.metrics  # noqa: F401 - it leaves out the series of when counters began
from thalweg.ops.exposition import page

texts = st.text(st.sampled_from('a"\\\n{},= é\U0001f30a'), max_size=6)
numbers = st.one_of(
    st.floats(),
    st.integers(-(10**12), 10**12).map(float),
    st.sampled_from([0.0, -0.0, 99_999.0, 100_000.0, 999_999.0, 1_000_000.0, 1.5e21, 1e-7]),
)


@given(labelled=st.dictionaries(st.tuples(texts, texts), numbers, max_size=5), plain=numbers, help=texts)
def test_a_page_is_byte_for_byte_that_of_the_library(
    labelled: dict[tuple[str, str], float], plain: float, help: str
) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("level", help, ("zone", "area"), registry=registry)
    counter = Counter("events_total", "of them", ("zone", "area"), registry=registry)
    spread = Histogram("took_seconds", "how long", ("zone",), registry=registry, buckets=(0.001, 1, 1e6))
    Gauge("alone", "without labels", registry=registry).set(plain)
    for (zone, area), value in labelled.items():
        gauge.labels(zone, area).set(value)
        if value >= 0:
            counter.labels(zone, area).inc(value)
            spread.labels(zone).observe(value)

    assert page(registry.collect()) == generate_latest(registry)
