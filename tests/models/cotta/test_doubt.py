"""Statistics of the stream are served only while the network is as sure by them as by those of the source."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.models.cotta.new_domain import Doubt
from thalweg.proto.schema import Array


def said(confidence: float, count: int = 50) -> Array:
    """Probabilities of ten classes, each class in turn with this confidence."""
    found = np.full((count, 10), (1 - confidence) / 9)
    found[np.arange(count), np.arange(count) % 10] = confidence
    return found


def one_class(confidence: float, count: int = 50) -> Array:
    """Probabilities of ten classes, always the same with this confidence."""
    found = np.full((count, 10), (1 - confidence) / 9)
    found[:, 3] = confidence
    return found


def test_the_source_is_served_while_the_network_is_surer_by_it_and_no_longer() -> None:
    doubt = Doubt()

    assert not doubt.note(said(0.95), one_class(0.95))
    assert doubt.note(said(0.7), one_class(0.95))
    assert doubt.holds
    for _ in range(5):
        doubt.note(said(0.97), one_class(0.9))
    assert not doubt.holds


def test_a_source_that_names_many_classes_is_surer_without_being_right() -> None:
    doubt = Doubt()

    for _ in range(20):
        doubt.note(said(0.5), said(0.95))

    assert not doubt.holds


def test_a_little_less_sure_is_no_reason() -> None:
    doubt = Doubt()

    for _ in range(20):
        doubt.note(said(0.94), one_class(0.95))

    assert not doubt.holds


def test_labels_have_the_last_word() -> None:
    doubt = Doubt()
    doubt.note(said(0.5), one_class(0.99))

    doubt.overrule(by_labels=True)
    assert not doubt.holds
    doubt.overrule(by_labels=False)

    assert doubt.holds


def test_rows_that_say_nothing_change_nothing_and_a_state_goes_on() -> None:
    doubt, again = Doubt(), Doubt()
    doubt.note(said(0.8), one_class(0.9))
    before = doubt.tensors()["state"].tolist()

    assert not doubt.note(np.full((50, 10), np.nan), one_class(0.9))

    assert doubt.tensors()["state"].tolist() == before
    again.restore(doubt.tensors())
    assert again.note(said(0.5), one_class(0.99)) == doubt.note(said(0.5), one_class(0.99))
    assert again.tensors()["state"].tolist() == pytest.approx(doubt.tensors()["state"].tolist(), abs=0)
    again.restore({})
    assert not again.holds
