"""A class that appears late is said once, and not without bound."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from structlog.testing import capture_logs

from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.evaluation.new_classes import NewClasses


def batch(*names: str) -> Batch:
    count = len(names)
    return Batch({}, ClassLabels(np.arange(count, dtype=np.int32), names), np.ones(count), np.zeros(count))


def test_a_class_that_appears_after_many_events_is_logged_once_and_few_of_them() -> None:
    looking, predictor = NewClasses(), SimpleNamespace(classes=("a", "b"))
    known: Any = predictor

    with capture_logs() as logs:
        looking.look(batch("early"), known, 10)
        looking.look(batch("a", "b"), known, 5000)
        assert logs == []
        looking.look(batch("a", "fruad"), known, 5000)
        looking.look(batch("fruad", "b"), known, 5064)
        predictor.classes = ("a", "b", "c")
        looking.look(batch("c"), known, 6000)
        assert [entry["label"] for entry in logs] == ["fruad"]
        looking.look(batch(*(f"user-{number}" for number in range(1000))), known, 6000)
        looking.look(batch("another"), known, 7000)

    assert len(logs) == 20
    assert logs[-1]["next"] == "further ones are not logged"


def test_labels_that_are_numbers_with_decimals_are_told_once_in_place_of_each() -> None:
    looking = NewClasses()
    many: Any = SimpleNamespace(classes=tuple(f"{number}.5" for number in range(60)))

    with capture_logs() as logs:
        for events in (60, 5000, 6000):
            looking.look(batch("61.5", "62.5"), many, events)

    assert [line["set"] for line in logs] == ['[model.params] task = "regression"']


def test_versions_and_ratings_are_names_of_classes() -> None:
    looking = NewClasses()
    for classes in (("4.5", "5.0"), tuple(f"v1.{number}" for number in range(60))):
        with capture_logs() as logs:
            few: Any = SimpleNamespace(classes=classes)
            looking.look(batch(*classes), few, 60)
        assert logs == []
