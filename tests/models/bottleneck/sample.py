"""The bottleneck as the tests of the service run it."""

from __future__ import annotations

from tests.samples import Sample, events

SAMPLE = Sample(
    configuration="""
learner = "bottleneck"
inputs.features = { shape = [4], dtype = "float32" }
[model.params]
heads = 8
pairs = 16
key_width = 3
key_events = 80
key_steps = 20
""",
    events=events,
)
