"""Requests that come while a prediction is computed are computed together next, where that is quicker than one by one.

Whoever comes while nobody computes begins at once: nobody waits for others to come. Whoever comes meanwhile waits, and
the first of them then computes for all. A batch is of one version; every answer is the one that its request would have
got alone (`LearnerContract` holds every learner to that).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import numpy as np

from thalweg.ops.serve.bounds.pieces import predicted, rows_of
from thalweg.ops.serve.errors import DeadlineExceeded
from thalweg.proto.schema import Array, Inputs
from thalweg.stream.publication.ports import ServedVersion

Outputs: TypeAlias = Mapping[str, Array]

WORTH_SECONDS = 0.0005
"""Processor time of a prediction from which on it may be worth while to compute several together."""
_SAVES = 0.75  # a row in a batch must take less than this share of its time alone
_SHARE = 0.1  # of a new time in the running mean
_TRY_AGAIN = 2000  # predictions after which what was not worth while is tried again
_LONGEST_SECONDS = 86_400.0
_LARGE = 8  # a request of more rows gains nothing from others


class WaitingRoom:
    """Limits how many requests wait for their batch, over all models; further ones are computed alone.

    Args:
        most: The limit.
        aside: Entered around each wait, on the waiting thread, so that another call may use it.
    """

    def __init__(self, most: int, aside: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.aside = aside
        self._free = threading.BoundedSemaphore(most) if most else None

    def enter(self) -> bool:
        """Take a place, if one is free; does not block."""
        return self._free is not None and self._free.acquire(blocking=False)

    def leave(self) -> None:
        """Give it back."""
        assert self._free is not None
        self._free.release()


class _Waiting:
    """A request that waits; `go` is released when it has its outputs, an error, or the turn to compute."""

    __slots__ = ("alive", "error", "form", "go", "inputs", "outputs", "rows", "served", "taken")

    def __init__(
        self,
        served: ServedVersion,
        inputs: Inputs,
        form: tuple[object, ...],
        rows: int,
        alive: Callable[[], bool] | None,
    ) -> None:
        self.served, self.inputs, self.form, self.rows, self.alive = served, inputs, form, rows, alive
        self.go = threading.Lock()
        self.go.acquire()
        self.taken = False
        self.outputs: Outputs | None = None
        self.error: BaseException | None = None


class MicroBatches:
    """Computes the predictions of one model. Thread-safe.

    Args:
        room: Where requests wait.
        most_rows: Of a batch; 1: every request is computed alone.
        worth_seconds: See `WORTH_SECONDS`.
        cpu: Processor seconds of the calling thread.
    """

    def __init__(
        self,
        room: WaitingRoom,
        most_rows: int = 32,
        worth_seconds: float = WORTH_SECONDS,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._room, self._most_rows, self._worth_seconds, self._cpu = room, most_rows, worth_seconds, cpu
        self._lock = threading.Lock()
        self._computing = False
        self._queue: deque[_Waiting] = deque()
        self._alone = 0.0  # processor seconds of a request of one row, a running mean
        self._together: float | None = None  # of a row in a batch; None: not known
        self._predictions = 0

    @property
    def worth_while(self) -> bool:
        """Whether requests are computed together now."""
        if self._most_rows <= 1 or self._alone < self._worth_seconds:
            return False
        return self._together is None or self._together < _SAVES * self._alone

    def predict(
        self,
        served: ServedVersion,
        inputs: Inputs,
        patience_seconds: float | None = None,
        alive: Callable[[], bool] | None = None,
    ) -> Outputs:
        """The outputs of `served.predictor` for these inputs.

        Args:
            served: The version.
            inputs: By name, each (N, ...).
            patience_seconds: Seconds until the caller's deadline; None: no deadline.
            alive: Whether the caller still waits; None: it does.

        Raises:
            DeadlineExceeded: The deadline passed, or the caller left, before the prediction began.
            Others: As raised by the predictor.
        """
        rows = rows_of(inputs)
        if not self.worth_while or not 0 < rows <= _LARGE:
            return self._compute_alone(served, inputs, rows)
        mine = None
        with self._lock:
            first = not self._computing
            if first:
                self._computing = True
            elif self._room.enter():
                mine = _Waiting(served, inputs, _form(inputs), rows, alive)
                self._queue.append(mine)
        if first:
            try:
                return self._compute_alone(served, inputs, rows)
            finally:
                self._pass_on()
        if mine is None:  # no place to wait
            return self._compute_alone(served, inputs, rows)
        try:
            with self._room.aside():
                self._wait(mine, patience_seconds)
        finally:
            self._room.leave()
        if mine.outputs is None and mine.error is None:  # its turn to compute
            self._compute_for_all(mine)
        if mine.error is not None:
            raise mine.error
        assert mine.outputs is not None
        return mine.outputs

    def _wait(self, mine: _Waiting, patience_seconds: float | None) -> None:
        no_deadline = patience_seconds is None or patience_seconds > _LONGEST_SECONDS  # some clients send centuries
        if mine.go.acquire(timeout=-1 if no_deadline else max(0.0, patience_seconds or 0.0)):
            return
        with self._lock:
            if not mine.taken:
                self._queue.remove(mine)
                mine.error = DeadlineExceeded("the deadline passed before the prediction began")
                return
        mine.go.acquire()  # it is being computed, or has the turn

    def _pass_on(self) -> None:
        """Give the turn to the first that waits."""
        with self._lock:
            if not self._queue:
                self._computing = False
                return
            following = self._queue.popleft()
            following.taken = True
        following.go.release()

    def _compute_for_all(self, mine: _Waiting) -> None:
        """Compute this one and those behind it that fit; each gets its outputs or its error."""
        batch = [mine]
        try:
            batch += self._others(mine)
            self._compute(batch)
        except BaseException as error:
            for one in batch:
                one.error = one.error or error
            raise
        finally:
            for one in batch[1:]:
                one.go.release()
            self._pass_on()

    def _others(self, mine: _Waiting) -> list[_Waiting]:
        """What is computed beside it: of the same version and form, and still wanted."""
        found, left, rows = [], [], mine.rows
        with self._lock:
            waiting, self._queue = self._queue, deque()
            for one in waiting:
                if one.served is mine.served and one.form == mine.form and rows + one.rows <= self._most_rows:
                    one.taken = True
                    rows += one.rows
                    found.append(one)
                else:
                    left.append(one)
            self._queue.extend(left)
        return found

    def _compute(self, batch: Sequence[_Waiting]) -> None:
        wanted = [one for one in batch if one.alive is None or one.alive()]
        for one in batch:
            if one not in wanted:
                one.error = DeadlineExceeded("the caller left before the prediction began")
        if len(wanted) > 1 and self._computed_together(wanted):
            return
        for one in wanted:
            try:
                one.outputs = self._compute_alone(one.served, one.inputs, one.rows)
            except Exception as error:
                one.error = error

    def _computed_together(self, wanted: Sequence[_Waiting]) -> bool:
        """Give each its outputs; False if that fails for one of them: alone, each gets its own error or outputs."""
        before = self._cpu()
        try:
            outputs = wanted[0].served.predictor.predict(_joined([one.inputs for one in wanted]))
        except Exception:
            return False
        self._note_together((self._cpu() - before) / sum(one.rows for one in wanted))
        start = 0
        for one in wanted:
            one.outputs = {name: array[start : start + one.rows] for name, array in outputs.items()}
            start += one.rows
        return True

    def _compute_alone(self, served: ServedVersion, inputs: Inputs, rows: int) -> Outputs:
        before = self._cpu()
        outputs = predicted(served.predictor, inputs, rows)
        if rows == 1:
            seconds = self._cpu() - before
            self._alone += (_SHARE if self._alone else 1.0) * (seconds - self._alone)
        self._predictions += 1
        if self._predictions >= _TRY_AGAIN:
            self._predictions, self._together = 0, None
        return outputs

    def _note_together(self, seconds: float) -> None:
        known = self._together
        self._together = seconds if known is None else known + _SHARE * (seconds - known)


def _form(inputs: Inputs) -> tuple[object, ...]:
    return tuple((name, inputs[name].dtype, inputs[name].shape[1:]) for name in sorted(inputs))


def _joined(all_inputs: Sequence[Inputs]) -> Inputs:
    return {name: np.concatenate([one[name] for one in all_inputs]) for name in all_inputs[0]}
