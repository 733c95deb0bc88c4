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


def test_each_class_is_told_with_the_events_and_classes_before_its_own_first_event() -> None:
    looking = NewClasses()
    predictor: Any = SimpleNamespace(classes=("a", "b"))
    labels = ClassLabels(np.array([0, 0, 3, 1, 2, 3, -1, 4], dtype=np.int32), ("a", "b", "c", "d", "e"))

    with capture_logs() as logs:
        for start in range(0, 8, 2):  # micro-batches of a block
            part = labels[slice(start, start + 2)]
            looking.look(Batch({}, part, np.ones(2), np.zeros(2)), predictor, 1000 + start)

    assert [(one["label"], one["events"], one["known"]) for one in logs] == [
        ("d", 1002, 2),
        ("c", 1004, 3),
        ("e", 1007, 4),
    ]


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
