"""Requests that are computed together: each gets what it would have got alone, and none waits for others to come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.serve.http_api.test_learners import taught
from tests.ops.serve.serving import served
from tests.samples import sample
from tests.services.processes import until
from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.micro_batches import MicroBatches, WaitingRoom
from thalweg.ops.serve.errors import DeadlineExceeded
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.proto.schema import Array, InputError, Inputs
from thalweg.proto.task import CLASSIFICATION
from thalweg.stream.publication.ports import ServedVersion, VersionInfo


class Doubling:
    """Doubles its input; while `busy` is held, predictions do not end."""

    task = CLASSIFICATION
    inputs: Mapping[str, Any] = {}
    outputs: Mapping[str, Any] = {}
    properties: Mapping[str, str] = {}

    def __init__(self, cost: Callable[[int], float] = lambda rows: 1.0) -> None:
        self.cost = cost
        self.seconds = 0.0
        """Of processor time so far, by the cost of each prediction's rows."""
        self.busy = threading.Lock()
        self.asked: list[list[float]] = []
        """The rows of each prediction that was begun."""

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        x = inputs["x"]
        self.asked.append(x.tolist())
        with self.busy:
            if (x < 0).any():
                raise InputError(f"input 'x': expected no negative number, got {x.min():g}")
            self.seconds += self.cost(len(x))
            return {"y": 2 * x}


def version(predictor: Doubling, number: int = 1) -> ServedVersion:
    return ServedVersion(predictor, VersionInfo(number, 1, 0.0, 0.0, 0.0, 1))  # type: ignore[arg-type]


def x(*values: float, dtype: type = float) -> Inputs:
    return {"x": np.array(values, dtype=dtype)}


class Callers:
    """Callers of one model, while it is at work for the first of them."""

    def __init__(self, served: ServedVersion, room: WaitingRoom, *, most_rows: int = 32) -> None:
        self.served = served
        self.predictor: Doubling = served.predictor  # type: ignore[assignment]
        self.batches = MicroBatches(room, most_rows, worth_seconds=0.5, cpu=lambda: self.predictor.seconds)
        self.batches.predict(served, x(0.0))  # from here on it is known how long it takes
        self.threads = ThreadPoolExecutor(64)
        self.predictor.busy.acquire()
        self.predictor.asked.clear()
        self.first = self.ask(x(1.0))
        until("the first to be computed", lambda: self.predictor.asked)

    def ask(self, inputs: Inputs, served: ServedVersion | None = None, **more: Any) -> Future[Mapping[str, Array]]:
        return self.threads.submit(self.batches.predict, served or self.served, inputs, **more)

    def waiting(self, count: int) -> None:
        until(f"{count} to wait", lambda: len(self.batches._queue) == count)

    def ask_in_turn(self, *values: float) -> list[Future[Mapping[str, Array]]]:
        begun = len(self.batches._queue)
        found = []
        for place, value in enumerate(values, 1):
            found.append(self.ask(x(value)))
            self.waiting(begun + place)
        return found

    def go_on(self) -> None:
        self.predictor.busy.release()


@pytest.fixture
def callers() -> Callers:
    return Callers(version(Doubling()), WaitingRoom(50))


def test_those_who_come_meanwhile_are_computed_together_and_each_gets_his_own(callers: Callers) -> None:
    others = callers.ask_in_turn(2.0, 3.0, 4.0)
    callers.go_on()

    assert [one.result()["y"].tolist() for one in (callers.first, *others)] == [[2.0], [4.0], [6.0], [8.0]]
    assert callers.predictor.asked == [[1.0], [2.0, 3.0, 4.0]]


def test_one_who_comes_alone_is_computed_at_once(callers: Callers) -> None:
    callers.go_on()
    callers.first.result()

    assert callers.batches.predict(callers.served, x(5.0))["y"].tolist() == [10.0]
    assert callers.predictor.asked == [[1.0], [5.0]]


def test_an_error_of_one_is_the_error_of_no_other(callers: Callers) -> None:
    good, bad, last = callers.ask_in_turn(2.0, -3.0, 4.0)
    callers.go_on()

    assert good.result()["y"].tolist() == [4.0]
    assert last.result()["y"].tolist() == [8.0]
    with pytest.raises(InputError, match="got -3"):
        bad.result()


def test_a_batch_is_of_one_version_and_of_one_form(callers: Callers) -> None:
    newer = version(Doubling(), 2)
    asked = [callers.ask(x(2.0))]
    for inputs, of in ((x(3.0), newer), (x(4.0, dtype=np.float32), None), (x(5.0), None), (x(6.0), newer)):
        callers.waiting(len(asked))
        asked.append(callers.ask(inputs, of))
    callers.waiting(5)
    callers.go_on()

    assert [one.result()["y"].tolist() for one in asked] == [[4.0], [6.0], [8.0], [10.0], [12.0]]
    assert callers.predictor.asked == [[1.0], [2.0, 5.0], [4.0]]
    assert newer.predictor.asked == [[3.0, 6.0]]  # type: ignore[attr-defined]


def test_a_batch_has_no_more_rows_than_allowed() -> None:
    callers = Callers(version(Doubling()), WaitingRoom(50), most_rows=3)
    asked = [callers.ask(x(2.0, 2.5))]
    callers.waiting(1)
    asked += callers.ask_in_turn(3.0, 4.0, 5.0)
    callers.go_on()

    assert [one.result()["y"].tolist() for one in asked] == [[4.0, 5.0], [6.0], [8.0], [10.0]]
    assert callers.predictor.asked == [[1.0], [2.0, 2.5, 3.0], [4.0, 5.0]]


def test_what_its_caller_no_longer_waits_for_is_not_computed(callers: Callers) -> None:
    late = callers.ask(x(2.0), patience_seconds=0.01)
    with pytest.raises(DeadlineExceeded, match="before the prediction began"):
        late.result()
    callers.waiting(0)
    kept, left = callers.ask(x(3.0), patience_seconds=1e12), callers.ask(x(4.0), alive=lambda: False)
    callers.waiting(2)
    callers.go_on()

    assert kept.result()["y"].tolist() == [6.0]
    with pytest.raises(DeadlineExceeded, match="the caller left"):
        left.result()
    assert callers.predictor.asked == [[1.0], [3.0]]


def test_whoever_finds_no_place_to_wait_is_computed_alone() -> None:
    callers = Callers(version(Doubling()), WaitingRoom(1))
    asked = callers.ask_in_turn(2.0)
    asked.append(callers.ask(x(3.0)))
    until("the next to be computed", lambda: len(callers.predictor.asked) == 2)
    asked.append(callers.ask(x(4.0)))
    until("the last to be computed beside it", lambda: len(callers.predictor.asked) == 3)
    callers.go_on()

    assert [one.result()["y"].tolist() for one in asked] == [[4.0], [6.0], [8.0]]
    assert callers.predictor.asked == [[1.0], [3.0], [4.0], [2.0]]


def test_what_is_computed_soon_or_not_sooner_together_is_computed_alone() -> None:
    predictor = Doubling()
    quick = MicroBatches(WaitingRoom(50), 32, worth_seconds=2, cpu=lambda: predictor.seconds)
    quick.predict(version(predictor), x(1.0))
    assert not quick.worth_while

    callers = Callers(version(Doubling(float)), WaitingRoom(50))  # each row as long, together or not
    pair = callers.ask_in_turn(2.0, 3.0)
    assert callers.batches.worth_while
    callers.go_on()
    assert [one.result()["y"].tolist() for one in pair] == [[4.0], [6.0]]
    assert not callers.batches.worth_while


def test_while_requests_wait_others_have_their_slots() -> None:
    slots = Admission("predictions", 2, 10)
    callers = Callers(version(Doubling()), WaitingRoom(50, slots.waiting))

    def ask(value: float) -> list[float]:
        with slots.slot():
            return callers.batches.predict(callers.served, x(value))["y"].tolist()  # type: ignore[no-any-return]

    asked = [callers.threads.submit(ask, value) for value in (2.0, 3.0, 4.0, 5.0)]
    callers.waiting(4)
    callers.go_on()

    assert [one.result() for one in asked] == [[4.0], [6.0], [8.0], [10.0]]


def test_of_many_callers_with_and_without_patience_every_one_gets_his_answer_or_is_told() -> None:
    predictor = Doubling()
    batches = MicroBatches(WaitingRoom(20), 8, worth_seconds=0.5, cpu=lambda: predictor.seconds)
    served = version(predictor)

    def caller(number: int) -> int:
        told = 0
        for step in range(50):
            value = float(number * 50 + step)
            try:
                found = batches.predict(served, x(value), 0.0005 * (step % 5) if step % 3 == 0 else None)
            except DeadlineExceeded:
                told += 1
            else:
                assert found["y"].tolist() == [2 * value]
        return told

    with ThreadPoolExecutor(32) as threads:
        told = sum(threads.map(caller, range(32)))

    assert told < 32 * 50
    assert not batches._queue
    assert not batches._computing


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_callers_of_every_learner_get_bit_for_bit_what_they_get_alone(tmp_path: Path, name: str) -> None:
    with served(tmp_path, model=taught(name, tmp_path)) as parts:
        core = InferenceCore(parts.server.models)
        batches = parts.server.models.find("m").batches
        batches._alone = 1e6  # seconds: worth while
        rows = sample(name).events(20).inputs
        asked = [{one: column[place : place + 1] for one, column in rows.items()} for place in range(20)]

        def ask(inputs: Inputs) -> dict[str, bytes]:
            outputs = core.infer(InferenceRequest(RequestOptions("m"), inputs)).outputs
            return {name: array.tobytes() for name, array in outputs.items()}

        alone = [ask(inputs) for inputs in asked]
        batches._computing = True  # so that all of them wait
        with ThreadPoolExecutor(20) as threads:
            together = threads.map(ask, asked)
            until("all to wait", lambda: len(batches._queue) == 20)
            batches._pass_on()

            assert list(together) == alone
        assert batches._together is not None
