"""A model whose events never have a label: it is said once, with the name under which labels are looked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.nearest_mean import NearestMean
from thalweg.ops.telemetry.no_labels import label_watch
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import TensorSpec
from thalweg.stream.learn.outcome import Outcome

LEARNER: Any = NearestMean(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}))
SCHEMA = replace(LEARNER.schema, fields=FieldMapping(label="is_fraud"))


def told(*outcomes: Outcome) -> list[Any]:
    (watch,) = label_watch("m", SCHEMA, LEARNER, "")
    with capture_logs() as logs:
        for outcome in outcomes:
            watch.block_done(outcome, LEARNER, {})
    return logs


def test_after_a_thousand_events_without_a_label_it_is_said_once_where_labels_are_looked_for() -> None:
    bare = Outcome(version=1, learned=0, events=600)

    assert not told(bare)
    (said,) = told(bare, bare, bare, bare)
    assert (said["model"], said["looked_for"], said["events"]) == ("m", "is_fraud", 1200)


@pytest.mark.parametrize(("learned", "labelled"), [(1, 0), (0, 1)], ids=["in an earlier process", "once"])
def test_a_model_that_has_had_labels_may_get_none_for_a_while(learned: int, labelled: int) -> None:
    bare = Outcome(version=1, learned=learned, events=600)

    assert not told(replace(bare, labelled=labelled), bare, bare)


def test_a_model_whose_labels_come_later_is_not_watched() -> None:
    assert label_watch("m", SCHEMA, LEARNER, "m.labels") == []
    assert label_watch("m", replace(SCHEMA, fields=FieldMapping(label="")), LEARNER, "") == []
