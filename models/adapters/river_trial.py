"""Tries a new estimator on a few made-up events: whether it can be stored and restored exactly, and its kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.rebuild import rebuild
from thalweg.models.adapters.river_kinds import RiverKind, unsuited
from thalweg.models.adapters.rows import Row, Rows
from thalweg.models.adapters.walk import objects, walk

_EVENTS = 8


def tried(learner: str, new: Callable[[], Any], allowed: Allowed, rows: Rows, seed: int) -> tuple[Any, RiverKind]:
    """A new estimator that belongs to the caller, and its kind.

    Args:
        learner: Its name, for messages.
        new: Returns a new estimator, or always the same one, which is not changed.
        allowed: The packages that its parts belong to.
        rows: The features of its events.
        seed: The seed of its parts that have none.

    Raises:
        ValueError: It is of no kind that can be a learner, cannot be stored, or two new ones differ.
    """
    made = new()
    try:
        kind = RiverKind.of(made)
        if why := unsuited(made):
            raise ValueError(why)
        ours, one, two = (_seeded(rebuild(walk(each, allowed), allowed), seed, allowed) for each in (made, made, new()))
        return ours, replace(kind, impure=_impure(kind, one, two, allowed, rows))
    except ValueError as error:
        raise ValueError(f"{learner}: {error}") from error


def _seeded(estimator: Any, seed: int, allowed: Allowed) -> Any:
    """The same estimator; every part that would draw its seed from the system has one that follows from `seed`.

    Such a part has an attribute `seed`, which is None, as all of River have; its copies begin with the new one.
    """
    draw = random.Random(seed)
    for part in objects(estimator, allowed):
        own = getattr(part, "__dict__", {})
        if "seed" in own and own["seed"] is None and not type(part).__module__.startswith("river.proba."):
            own["seed"] = number = draw.getrandbits(32)
            for generator in own.values():
                if isinstance(generator, (random.Random, np.random.RandomState)):
                    generator.seed(number)
    return estimator


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


def unsuited_texts(estimator: Any, kind: RiverKind, allowed: Allowed, rows: Rows) -> str:
    """Which texts an estimator cannot take, and what to do; empty if none, or if that cannot be told.

    It is told where made-up events with a text make it raise, and the same events without do not.

    Args:
        estimator: A new one; it is not changed.
        kind: Its kind.
        allowed: The packages that its parts belong to.
        rows: The features of its events.
    """
    if not rows.texts:
        return ""
    new = walk(estimator, allowed)

    def raises(without: Collection[str]) -> bool:
        one = rebuild(new, allowed)
        try:
            for number in range(_EVENTS):
                _learn(kind, one, number, rows, without)
            _predict(kind, one, _EVENTS, rows, without)
        except Exception:
            return True
        return False

    if not raises(()) or raises(rows.texts):
        return ""
    found = [key for key in rows.keys if key in rows.texts and raises(rows.texts - {key})]
    named = ", ".join(map(repr, found or sorted(rows.texts)))
    return (
        f"the estimator takes numbers, not the texts of {named:.300}: encode them in a pipeline, for example "
        f"compose.SelectType(str) | preprocessing.OneHotEncoder(), or leave them out of the model"
    )


def _event(rows: Rows, number: int, without: Collection[str] = ()) -> Row:
    draw = random.Random(number)
    row: Row = {}
    for key in rows.keys:
        if key in rows.lists:
            row[key] = [draw.choice("abc")]
        else:
            row[key] = draw.choice("abc") if key in rows.texts else draw.gauss(0.0, 1.0)
    return {key: value for key, value in row.items() if key not in without} if without else row


def _learn(kind: RiverKind, estimator: Any, number: int, rows: Rows, without: Collection[str] = ()) -> None:
    row = _event(rows, number, without)
    if not kind.supervised:
        estimator.learn_one(row)
    elif kind.kind == "classifier":
        estimator.learn_one(row, number % 2 == 1 if kind.binary else "ab"[number % 2])
    else:
        estimator.learn_one(row, float(number % 3))


def _predict(kind: RiverKind, estimator: Any, number: int, rows: Rows, without: Collection[str] = ()) -> None:
    row = _event(rows, number, without)
    if kind.kind == "anomaly":
        estimator.score_one(row)
    elif kind.probabilities:
        estimator.predict_proba_one(row)
    else:
        estimator.predict_one(row)
