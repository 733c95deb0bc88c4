"""Columns that a user's encoder takes as they are: its features stand beside those of the other columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.models import own_encoders
from tests.models.columns.samples import events_of, texts
from tests.models.columns.test_explaining import explained
from tests.models.columns.test_ids import CLICKS, NETWORK, clicks
from tests.models.columns.test_staged import Staged, context
from thalweg.memory.snapshots.state import State
from thalweg.models.columns.make import make_learner, predictor_maker, transform_of
from thalweg.models.contract.learner import Learner, ParamsError, Predictor
from thalweg.models.encoders.encoder import EncoderFailed, shared_encoder
from thalweg.models.encoders.spec import EncoderSpec
from thalweg.proto.event import Batch, ClassLabels

OWN = "tests.models.own_encoders:"
TABLE: dict[str, Any] = {
    "amount": "numeric",
    "country": {"kind": "categorical", "min_events": 1},
    "title": "text",
    "body": "text",
}
WORDS = EncoderSpec(name=OWN + "words", columns=("title", "body"))


def payments(count: int = 40, number: int = 0) -> Batch:
    """The amount says which half of the classes, the texts which of both."""
    events, random = events_of(TABLE, count, number), np.random.default_rng([number, 9])
    codes = random.integers(0, 4, count).astype(np.int32)
    words = [own_encoders.TOPICS[code % 2].decode() for code in codes]
    inputs = {
        **events.inputs,
        "amount": np.where(random.random(count) < 0.1, np.nan, (codes // 2) * 5.0 + random.normal(0, 1, count)),
        "title": texts([word if row % 3 else "" for row, word in enumerate(words)]),
        "body": texts([f"it says {word}, again" for word in words]),
    }
    return replace(events, inputs=inputs, labels=ClassLabels(codes, tuple("abcd")))


class TestRidgeBesideAFunction(Staged):
    table = TABLE

    def new(self) -> Learner:
        return make_learner(self.learner, self.context(self.table), WORDS)

    def other(self) -> Learner:
        return make_learner(self.learner, self.context({**self.table, "weight": "numeric"}), WORDS)

    def batches(self) -> list[Batch]:
        return [payments(number=number) for number in range(5)]

    def predictor_from(self, state: State) -> Predictor:
        return predictor_maker(self.learner, self.context(self.table), WORDS)(state)


def taught(spec: EncoderSpec | str, table: dict[str, Any] = TABLE) -> Predictor:
    learner = make_learner("ridge", context(table, {}), spec)
    for number in range(12):
        batch = payments(number=number)
        learner.learn(replace(batch, inputs={name: batch.inputs[name] for name in table}))
    return learner.predictor()


def test_a_model_learns_from_what_a_function_makes_of_texts_and_from_numbers_beside_it() -> None:
    asked = payments(200, 50)
    alone = {name: TABLE[name] for name in ("amount", "country")}

    both, without = taught(WORDS), taught("identity", alone)

    assert isinstance(asked.labels, ClassLabels)
    right = []
    for predictor, names in ((both, TABLE), (without, alone)):
        codes = predictor.predict({name: asked.inputs[name] for name in names})["label"]
        right.append(np.mean([predictor.classes[a] == "abcd"[b] for a, b in zip(codes, asked.labels.codes)]))
    assert right[0] > 0.9
    assert right[1] < 0.7


def test_an_explanation_names_the_columns_that_an_encoder_takes_together() -> None:
    rows = explained(taught(WORDS), payments(3, 5).inputs)

    assert {entry["column"] for entry in rows[0]} == {"amount", "country", "body + title", "(constant)"}
    together = next(entry for entry in rows[0] if entry["column"] == "body + title")
    assert together["value"][0].startswith("it says")
    one = taught(EncoderSpec(name=OWN + "lengths", columns=("body",)))
    assert {entry["column"] for entry in explained(one, payments(1, 5).inputs)[0]} == {*TABLE, "(constant)"}


def test_missing_values_come_to_the_encoder_as_they_are() -> None:
    predictor = taught(WORDS)

    predictor.predict({"amount": np.array([1.0])})

    rows = [row for call in own_encoders.seen for row in zip(call["title"].tolist(), call["body"].tolist())]
    assert (b"", b"") in rows  # asked for now, or the features of an equal row before


def test_an_event_is_encoded_once_for_its_answer_and_its_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, batch = make_learner("ridge", context(TABLE, {}), WORDS), payments(16, 77)
    taken = {name: one for name, one in learner.schema.inputs.items() if name in WORDS.columns}
    encoder, rows = shared_encoder(WORDS, "", taken, 0), []
    encode = encoder._encode
    monkeypatch.setattr(encoder, "_encode", lambda x: rows.append(len(x["title"])) or encode(x))

    learner.predictor().predict_batch(batch)  # type: ignore[attr-defined]
    learner.learn(batch)

    assert sum(rows) <= 16


def test_a_recommender_takes_what_an_encoder_makes_of_a_column_beside_its_ids() -> None:
    table = {**CLICKS, "headline": "text"}
    spec = EncoderSpec(name=OWN + "lengths", columns=("headline",))
    learner = make_learner("error_memory", context(table, NETWORK), spec)
    batch = clicks()
    batch = replace(batch, inputs={**batch.inputs, "headline": texts(["a b"] * 40)})

    learner.learn(batch)

    transform = transform_of("error_memory", context(table, NETWORK), spec)
    assert transform is not None
    assert transform.specs["fields"].shape == (2,)
    assert np.isfinite(learner.predictor().predict(batch.inputs)["score"]).all()


@pytest.mark.parametrize(
    ("learner", "table", "spec", "mistakes"),
    [
        (
            "ridge",
            TABLE,
            EncoderSpec(name=OWN + "words", columns=("titel",)),
            {"encoder_columns": "no such column: 'titel'; columns: amount, country, title, body"},
        ),
        ("ridge", {}, WORDS, {"encoder_columns": "expected a model with columns, got title, body"}),
        (
            "river:river.linear_model.LogisticRegression",
            TABLE,
            WORDS,
            {
                "encoder": "river:river.linear_model.LogisticRegression takes columns as they are, got "
                f"'{OWN}words' in front of it"
            },
        ),
    ],
)
def test_columns_that_an_encoder_cannot_take_are_named(
    learner: str, table: dict[str, Any], spec: EncoderSpec, mistakes: dict[str, str]
) -> None:
    given = context(table, {}) if table else replace(context(TABLE, {}), columns={})

    with pytest.raises(ParamsError) as told:
        make_learner(learner, given, spec)

    assert told.value.mistakes == mistakes


def test_an_encoder_that_fails_on_an_event_names_itself() -> None:
    learner = make_learner("ridge", context(TABLE, {}), EncoderSpec(name=OWN + "poisoned", columns=("body",)))
    batch = payments(4)
    batch.inputs["body"][2] = b"poison"

    with pytest.raises(EncoderFailed, match=r"encoder '.*:poisoned' raised KeyError"):
        learner.learn(batch)
