"""The ridge as the tests of the service run it."""

from __future__ import annotations

from tests.samples import Sample, events

SAMPLE = Sample(
    configuration="""
learner = "ridge"
inputs.features = { shape = [4], dtype = "float32" }
[model.params]
expansion = 8
""",
    events=events,
)
