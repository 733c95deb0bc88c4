"""Answers that wait for their label: what is kept of them, that it survives the log, and that nothing odd gets in."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto import thalweg_pb2
from thalweg.proto.answer import MOST_SCORES, Answer
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events
from thalweg.proto.event import Batch, ClassLabels, join
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.proto.task import CLASSIFICATION, task_of

SPECS = {"x": TensorSpec("x", "float32", (1,))}
CLASSES, NUMBERS = Schema(SPECS), Schema(SPECS, "number", 2)
names = st.text("abcü", max_size=3)
floats = st.floats(width=32)


@st.composite
def of_classes(draw: st.DrawFn) -> Answer:
    classes = draw(st.lists(names, unique=True, max_size=MOST_SCORES))
    scores = draw(st.lists(floats, min_size=len(classes), max_size=len(classes)))
    known = len(classes) + draw(st.integers(0, 3))
    rest = draw(floats) if known else 0.0
    return Answer(draw(st.integers(0, 2**63 - 1)), draw(st.none() | names), tuple(classes), tuple(scores), rest, known)


of_numbers = st.builds(
    lambda version, value, score: Answer(version, value=value, score=score),
    st.integers(0, 9),
    st.just(()) | st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2),
    st.none() | st.floats(),
)


def batch(served: list[Answer | None]) -> Batch:
    count = len(served)
    x = np.arange(count, dtype=np.float32)[:, None]
    return Batch({"x": x}, None, np.ones(count), np.zeros(count), [f"e{row}" for row in range(count)], served=served)


def decoded(values: list[bytes], headers: Headers, schema: Schema = CLASSES) -> Any:
    count = len(values)
    run = Records(Partition("t", 0), range(count), [0.0] * count, [None] * count, values, [headers] * count)
    return Decoder(schema).decode(run)


def served_of(batch: Batch) -> list[Answer | None]:
    return [None] * len(batch) if batch.served is None else list(batch.served)


def same(some: list[Answer | None], others: list[Answer | None]) -> None:
    assert repr(some) == repr(others)  # NaN is not itself, but reads the same


@given(data=st.data(), schema=st.sampled_from([CLASSES, NUMBERS]), one_record=st.booleans(), at=st.integers(0, 6))
def test_answers_survive_the_log_and_go_with_their_events(
    data: st.DataObject, schema: Schema, one_record: bool, at: int
) -> None:
    answers = data.draw(
        st.lists(st.none() | (of_classes() if schema is CLASSES else of_numbers), min_size=1, max_size=6)
    )
    whole = batch(answers)
    values, headers = (
        ([to_event_batch(whole)], EVENT_BATCH_HEADERS) if one_record else (to_events(whole), EVENT_HEADERS)
    )

    found = decoded(values, headers, schema)

    assert not found.rejected
    same(served_of(found.batch), answers)
    same(served_of(join([part for part in (found.batch[:at], found.batch[at:]) if len(part)])), answers)
    same(served_of(join([found.batch, batch([]), whole.unlabelled()])), answers + answers)
    same(served_of(found.batch.take(np.arange(len(answers))[::-1])), answers[::-1])


def test_events_without_an_answer_carry_no_column_of_them() -> None:
    for values, headers in (
        (to_events(batch([None, None])), EVENT_HEADERS),
        (
            [to_event_batch(Batch({"x": np.ones((2, 1), np.float32)}, None, np.ones(2), np.zeros(2)))],
            EVENT_BATCH_HEADERS,
        ),
    ):
        assert decoded(values, headers).batch.served is None


def answer(**fields: Any) -> thalweg_pb2.Answer:
    return thalweg_pb2.Answer(**{"state_version": 1, **fields})


@pytest.mark.parametrize(
    ("message", "schema", "detail"),
    [
        (answer(state_version=-1), CLASSES, "expected a state_version of at least 0, got -1"),
        (answer(classes=["a"], known=1), CLASSES, "expected a score for each of 1 class, got 0"),
        (answer(classes=["a", "b"], scores=[1, 0], known=1), CLASSES, "expected scores of at most 1 class"),
        (
            answer(classes=[str(n) for n in range(40)], scores=[0] * 40, known=40),
            CLASSES,
            "expected scores of at most 32 classes, 40 being known, got 40",
        ),
        (answer(classes=["a", "a"], scores=[1, 0], known=2), CLASSES, "a class appears twice"),
        (answer(value=[1.0]), CLASSES, "expected a class and its scores, got numbers"),
        (answer(score=1.0), CLASSES, "expected a class and its scores, got numbers"),
        (answer(label="a"), NUMBERS, "expected numbers, got a class"),
        (answer(value=[1.0]), NUMBERS, "expected 2 finite numbers, got [1.0]"),
        (answer(value=[1.0, float("nan")]), NUMBERS, "expected 2 finite numbers, got [1.0, nan]"),
    ],
)
def test_an_answer_that_cannot_have_been_one_is_refused_and_the_event_beside_it_is_taken(
    message: thalweg_pb2.Answer, schema: Schema, detail: str
) -> None:
    events = [thalweg_pb2.Event.FromString(value) for value in to_events(batch([None, None]))]
    events[1].served.CopyFrom(message)

    found = decoded([event.SerializeToString() for event in events], EVENT_HEADERS, schema)

    (rejected,) = found.rejected
    assert (rejected.row, rejected.reason) == (1, "malformed")
    assert f"served: {detail}" in rejected.detail
    assert found.batch.ids == ["e0"]


def test_a_batch_of_events_needs_an_answer_for_each_or_none() -> None:
    message = thalweg_pb2.EventBatch.FromString(to_event_batch(batch([None, None])))
    del message.served[1:]

    found = decoded([message.SerializeToString()], EVENT_BATCH_HEADERS)

    assert [rejected.detail for rejected in found.rejected] == ["served: expected 2, got 1"]


@given(garbage=st.binary(max_size=40))
def test_whatever_stands_where_an_answer_should_is_an_answer_or_a_dead_letter(garbage: bytes) -> None:
    (event,) = to_events(batch([None]))
    size = len(garbage)

    found = decoded([event + b"\x5a" + bytes([size]) + garbage], EVENT_HEADERS)  # field 11, a message

    assert len(found.batch) + len(found.rejected) == 1


@given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=100),
    label=st.integers(-1, 99),
    probabilities=st.booleans(),
)
def test_the_highest_scores_are_kept_and_what_remains_is_shared_by_the_others(
    scores: list[float], label: int, probabilities: bool
) -> None:
    classes = [f"c{place}" for place in range(len(scores))]
    row = np.array(scores, dtype=np.float32) / (max(1.0, sum(scores)) if probabilities else 1.0)
    label = min(label, len(scores) - 1)
    outputs = {"label": np.array([label], np.int32), "scores": row[None]}

    kept = Answer.of(5, outputs, classes, CLASSES, replace(CLASSIFICATION, probabilities=probabilities))

    assert kept is not None
    assert (kept.version, kept.label, kept.known) == (5, None if label < 0 else classes[label], len(scores))
    assert sorted(kept.scores, reverse=True) == sorted(row.tolist(), reverse=True)[:MOST_SCORES]
    assert all(row[classes.index(name)] == score for name, score in zip(kept.classes, kept.scores))
    others = len(scores) - len(kept.scores)
    if others and probabilities:
        assert sum(kept.scores) + others * kept.rest == pytest.approx(max(1.0, sum(kept.scores)))
    elif others:
        assert kept.rest == min(kept.scores)


def test_what_could_not_be_read_again_is_not_kept() -> None:
    def of(schema: Schema = NUMBERS, **outputs: list[Any]) -> Answer | None:
        task = task_of(SimpleNamespace(outputs=outputs, properties={}))
        return Answer.of(0, {n: np.array(v) for n, v in outputs.items()}, ("a", "b"), schema, task)

    assert of(value=[[1.0, 2.0]]) == Answer(0, value=(1.0, 2.0))
    assert of(score=[0.25], base_score=[0.5]) == Answer(0, score=0.25)
    assert of(CLASSES, label=[1]) == Answer(0, "b")
    assert of(value=[[1.0, np.inf]]) is None
    assert of(value=[[1.0]]) is None
    assert of(CLASSES, score=[0.5]) is None
    assert of(CLASSES, scores=np.zeros((0, 2)), label=[]) is None  # type: ignore[arg-type]
    assert of(CLASSES, next_time=[1.0], next_type=[0]) is None


def test_an_answer_stays_with_an_event_that_gets_its_label() -> None:
    whole = batch([Answer(3, "a", ("a",), (1.0,), 0.0, 1)])
    event = thalweg_pb2.Event.FromString(to_events(whole)[0])
    event.label_text = "b"

    found = decoded([event.SerializeToString()], EVENT_HEADERS).batch

    assert isinstance(found.labels, ClassLabels)
    assert found.labels.names == ("b",)
    assert found.served == whole.served
