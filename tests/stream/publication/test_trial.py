"""A version that answers nothing does not replace one that answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from tests.ops.serve.serving import RunningServer, served
from tests.services.processes import until
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.nearest_mean import NearestMean
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.proto.schema import TensorSpec
from thalweg.stream.publication.trial import Trial, UnusableVersion


class Published:
    """A predictor's state, altered: what a foreign learner might publish."""

    def __init__(self, state: State) -> None:
        self._state = state

    def state(self) -> State:
        return self._state


def altered(state: State, name: str, change: Callable[[Any], Any]) -> State:
    return State({**state.tensors, name: change(np.array(state.tensors[name]))}, state.meta)


def filled(value: float) -> Callable[[Any], Any]:
    return lambda tensor: np.full_like(tensor, value)


BAD: dict[str, Callable[[State], State]] = {
    "weights that are no numbers": lambda state: altered(state, "head", filled(np.nan)),
    "infinite weights": lambda state: altered(state, "head", filled(np.inf)),
    "weights of another width": lambda state: altered(state, "head", lambda head: head[:-2]),
    "too few classes": lambda state: State(state.tensors, {**state.meta, "classes": state.meta["classes"][:1]}),
    "a tensor is missing": lambda state: State(
        {name: one for name, one in state.tensors.items() if name != "head"}, state.meta
    ),
    "nothing in its record": lambda state: State(state.tensors, {}),
}


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not asked before"])
@pytest.mark.parametrize("kind", BAD)
def test_a_version_that_answers_nothing_is_told_once_and_the_one_before_answers_on(
    kind: str, asked: bool, tmp_path: Path
) -> None:
    with served(tmp_path) as server:
        core = InferenceCore(server.server.models)
        row = np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)
        version = server.version

        def answer() -> tuple[int, Any]:
            response = core.infer(InferenceRequest(RequestOptions("m"), {"features": row}))
            return response.served.info.version, response.outputs["scores"]

        if asked:
            _, scores = answer()
            assert np.isfinite(scores).all()
        state = BAD[kind](server.learner.predictor().state())
        with structlog.testing.capture_logs() as lines:
            publish(server, state, version + 1)
            for number in range(20):  # announced again and again, as while nothing new is in the log
                server.publisher.confirm(1.0 + number)
                until("it to be looked at", lambda: any(line["log_level"] == "error" for line in lines))
            answered, scores = answer()
            assert (answered, np.isfinite(scores).all()) == (version, True)
            assert count_errors(lines) == 1
            until("health to tell it", lambda: any("cannot be used" in why for why in degraded(server)))

        server.learner.learn(server.taught.events(10, 7))
        publish(server, server.learner.predictor().state(), version + 2)
        until("the next one to answer", lambda: answer()[0] == version + 2)


def count_errors(lines: list[Any]) -> int:
    return len([line for line in lines if line["log_level"] == "error"])


def degraded(server: RunningServer) -> list[str]:
    return [one.reason for one in server.server.models.registry.report()]


def publish(server: RunningServer, state: State, version: int) -> None:
    server.publisher.publish(Published(state), version=version, learned_events=9, event_time=0.0)  # type: ignore[arg-type]


def test_a_thousand_bad_versions_cost_no_request(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        core = InferenceCore(server.server.models)
        request = InferenceRequest(RequestOptions("m"), {"features": np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)})
        core.infer(request)
        good, bad = server.learner.predictor().state(), list(BAD.values())
        with structlog.testing.capture_logs() as lines:
            for number in range(1000):
                publish(server, bad[number % len(bad)](good), server.version + 1 + number)
                until("it to be refused", lambda expected=number + 1: count_errors(lines) == expected)
                response = core.infer(request)
                assert response.served.info.version == server.version
                assert np.isfinite(response.outputs["scores"]).all()


class Keyed:
    """Answers NaN for a key that it does not know, with finite weights."""

    outputs = {"value": TensorSpec("value", "float64", (1,))}  # noqa: RUF012
    inputs = {"key": TensorSpec("key", "int64", (1,))}  # noqa: RUF012
    classes = ()

    def __init__(self, *known: int) -> None:
        self.known = known

    def predict(self, inputs: Any) -> Any:
        return {"value": np.where(np.isin(inputs["key"], self.known), 1.0, np.nan)}

    def state(self) -> State:
        return State({"known": np.array(self.known)}, {"least": 0.5})


def test_a_key_that_is_no_longer_known_is_nothing_against_a_version() -> None:
    trial, before, after = Trial(), Keyed(1, 2), Keyed(2)
    trial.offer({"key": np.array([[1]])})

    trial.check(after, after.state(), before)  # type: ignore[arg-type]

    with pytest.raises(UnusableVersion, match=r"not finite.*'least'"):
        trial.check(after, State(after.state().tensors, {"least": {"of": [float("nan")]}}), before)  # type: ignore[arg-type]


class Saying:
    """Answers whatever it is given, and declares a class with scores."""

    outputs = {  # noqa: RUF012
        "label": TensorSpec("label", "bytes", ()),
        "scores": TensorSpec("scores", "float32", (-1,)),
    }
    inputs = {"x": TensorSpec("x", "float32", (2,))}  # noqa: RUF012
    classes = ("a", "b")

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, inputs: Any) -> Any:
        return self.answer

    def state(self) -> State:
        return State({}, {})


CODE, SCORES = np.array([1], np.int32), np.array([[0.25, 0.75]], np.float32)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "outputs by name, got NoneType"),
        ({"scores": SCORES}, "'label': missing"),
        ({"label": np.array([1, 1]), "scores": SCORES}, r"'label': expected a row for 1, got shape \(2,\)"),
        ({"label": CODE, "scores": SCORES[:, :1]}, r"'scores': expected shape \(1, 2\), got \(1, 1\)"),
        ({"label": CODE, "scores": np.zeros((1, 50))}, r"'scores': expected shape \(1, 2\), got \(1, 50\)"),
        ({"label": CODE, "scores": SCORES[0]}, "'scores': expected a row for 1"),
        ({"label": CODE, "scores": SCORES.tolist()}, "'scores': expected an array, got list"),
        ({"label": np.array(["b"]), "scores": SCORES}, "'label': expected codes into the classes, got <U1"),
        ({"label": np.array([100]), "scores": SCORES}, "'label': class 100 of 2"),
        ({"label": np.array([-2]), "scores": SCORES}, "'label': class -2 of 2"),
        ({"label": CODE, "scores": SCORES.astype(str)}, "'scores': expected float32, got <U"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["the first", "after another"])
def test_a_version_whose_answer_is_not_as_declared_is_refused_and_how_is_told(
    answer: Any, told: str, first: bool
) -> None:
    saying = Saying(answer)

    with pytest.raises(UnusableVersion, match=told):
        Trial().check(saying, saying.state(), None if first else Saying({"label": CODE, "scores": SCORES}))  # type: ignore[arg-type]


def test_another_precision_and_more_outputs_than_declared_are_fine() -> None:
    saying = Saying({"label": CODE.astype(np.int64), "scores": SCORES.astype(np.float64), "more": ["anything"]})

    Trial().check(saying, saying.state(), None)  # type: ignore[arg-type]


def test_whole_numbers_do_for_numbers_of_any_kind() -> None:
    saying = Saying({"label": CODE.astype(np.uint8), "scores": np.array([[0, 1]])})

    Trial().check(saying, saying.state(), None)  # type: ignore[arg-type]


def test_where_nothing_answers_any_version_is_taken() -> None:
    learner = NearestMean(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}))
    trial, predictor = Trial(), learner.predictor()

    trial.check(Keyed(), State({"known": np.array([np.nan])}), None)  # type: ignore[arg-type]
    trial.check(Keyed(), State({"known": np.array([np.nan])}), Keyed())  # type: ignore[arg-type]
    trial.check(predictor, predictor.state(), predictor)
