"""Tries a new estimator on a few made-up events: whether it can be stored and restored exactly, and its kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.rebuild import rebuild
from thalweg.models.adapters.river_kinds import RiverKind, unsuited
from thalweg.models.adapters.rows import Row, Rows
from thalweg.models.adapters.walk import walk

_EVENTS = 8


def tried(learner: str, new: Callable[[], Any], allowed: Allowed, rows: Rows) -> tuple[Any, RiverKind]:
    """A new estimator that belongs to the caller, and its kind.

    Args:
        learner: Its name, for messages.
        new: Returns a new estimator, or always the same one, which is not changed.
        allowed: The packages that its parts belong to.
        rows: The features of its events.

    Raises:
        ValueError: It is of no kind that can be a learner, cannot be stored, or two new ones differ.
    """
    made = new()
    try:
        kind = RiverKind.of(made)
        if why := unsuited(made):
            raise ValueError(why)
        first = walk(made, allowed)
        one, two = rebuild(first, allowed), rebuild(walk(new(), allowed), allowed)
        return rebuild(first, allowed), replace(kind, impure=_impure(kind, one, two, allowed, rows))
    except ValueError as error:
        raise ValueError(f"{learner}: {error}") from error


def _impure(kind: RiverKind, one: Any, two: Any, allowed: Allowed, rows: Rows) -> bool:
    """Whether predicting changes the estimator, as far as a few events can tell."""
    _must_agree(one, two, allowed)
    try:
        for number in range(_EVENTS):
            _learn(kind, one, number, rows)
            _learn(kind, two, number, rows)
    except Exception:  # made-up events need not suit it, and real ones that it cannot learn are found when they come
        return False
    _must_agree(one, two, allowed)
    with suppress(Exception):
        for number in range(_EVENTS, _EVENTS + 3):
            _predict(kind, one, number, rows)
    return walk(one, allowed).sha256() != walk(two, allowed).sha256()


def _must_agree(one: Any, two: Any, allowed: Allowed) -> None:
    if walk(one, allowed).sha256() != walk(two, allowed).sha256():
        raise ValueError(
            "two new estimators differ, so a run cannot be repeated: give every part that draws random numbers a seed"
        )


def _event(rows: Rows, number: int) -> Row:
    draw = random.Random(number)
    row: Row = {}
    for key in rows.keys:
        text = rows.specs[key.partition("[")[0]].dtype == "bytes" if key.partition("[")[0] in rows.specs else False
        row[key] = draw.choice("abc") if text else draw.gauss(0.0, 1.0)
    return row


def _learn(kind: RiverKind, estimator: Any, number: int, rows: Rows) -> None:
    row = _event(rows, number)
    if not kind.supervised:
        estimator.learn_one(row)
    elif kind.kind == "classifier":
        estimator.learn_one(row, number % 2 == 1 if kind.binary else "ab"[number % 2])
    else:
        estimator.learn_one(row, float(number % 3))


def _predict(kind: RiverKind, estimator: Any, number: int, rows: Rows) -> None:
    row = _event(rows, number)
    if kind.kind == "anomaly":
        estimator.score_one(row)
    elif kind.probabilities:
        estimator.predict_proba_one(row)
    else:
        estimator.predict_one(row)
