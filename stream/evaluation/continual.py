"""Continual evaluation: the accuracy on held-out events of every class, evaluated repeatedly while learning continues.

Source: De Lange, van de Ven and Tuytelaars, "Continual evaluation for lifelong learning: identifying the stability
gap", ICLR 2023 (arXiv:2205.13452), section 3. A class is a task, E_i the events held of class i, f_t the model at
step t, A(E_i, f_t) its accuracy on them. With k classes and class k the newest:

- min-ACC: the mean over the classes before k of min A(E_i, f_n) over n since the class was learned;
- WC-ACC: A(E_k, f_t) / k + (1 - 1/k) min-ACC, worst-case accuracy;
- WF^Δ, WP^Δ: the mean over classes of the largest drop, or rise, of A(E_i, ·) within Δ consecutive evaluations.

Differences from the paper: (1) A stream has no test set: the held events are ones that the model has learned once,
so the figures measure what it retains of them. (2) Task ends are not announced: a class counts as learned from its
10 K-th event on, where K events are held of it, and the newest class is the one that appeared last. (3) Held events
are replaced: a uniform sample of the class's first 100 K events (algorithm R, Vitter 1985), later a decaying sample,
in which an event stays for 100 K more events of its class on average (Aggarwal, VLDB 2006). So the sample of a class
that changes is updated, and that of a class that no longer occurs stays; replacing one event changes an accuracy by
up to 1/K. A class that hardly ever came (`models/parts/strays.py`) counts once it came more often.
(4) Classes take turns, four at a time, each evaluated in full by the present predictor: of C classes, each one every
max(C, 4) K / share events (the paper's evaluation periodicity), so that the cost is a fixed share of that of
predicting.

State: K * classes * bytes of the inputs, within the given bound. Depends on the events and micro-batches alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.models.parts.strays import strays
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, TensorSpec
from thalweg.proto.task import task_of
from thalweg.stream.evaluation.grading import Graded, earlier_alike
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.evaluation.tasks import grading_of

METRICS = (
    "accuracy",
    "min_accuracy",
    "worst_case_accuracy",
    "windowed_forgetting",
    "windowed_plasticity",
    "recent_forgetting",
)
_WINDOW = 10  # Δ
_LEARNED = 10  # times K
_HORIZON = 100  # times K
_MOST_CLASSES = 1000
_TURNS = 4  # classes evaluated at once
_AT_ONCE = 4096  # events for which held slots are drawn together …
_TEXT_BYTES = 256
_WAITING_BYTES = 1 << 20  # … if they have at most this many bytes


class Continual:
    """Tracks the accuracy of every class on held-out events.

    Not available for models whose task is not `recallable`, or whose inputs are texts or of variable size, unless they
    are columns: of a column's texts the first 256 bytes are held. Scores count as two classes. Classes that exceed the
    byte limit are not tracked.

    Args:
        predictor: A predictor of the learner, for its inputs.
        events: Events held per class, K; 0: none.
        share: Held events evaluated, as a share of the events seen.
        most_bytes: Maximum bytes of the held inputs.
        seed: Seed of the sampling.
    """

    def __init__(
        self, predictor: Predictor, *, events: int = 10, share: float = 0.02, most_bytes: int = 4 << 20, seed: int = 0
    ) -> None:
        self._events, self._share, self._seed = events, share, seed
        self._specs = dict(predictor.inputs)
        self._most, size = 0, _row_bytes(self._specs)
        self._most_waiting = min(_AT_ONCE, _WAITING_BYTES // max(1, size))
        task = task_of(predictor)
        if size and events and task.recallable:
            self._most = min(_MOST_CLASSES, most_bytes // (events * size))
        self._begin()

    def _begin(self) -> None:
        self._draws = 0
        self._generator = np.random.Generator(np.random.PCG64(self._seed))
        self._due = 0.0  # held events that are due for evaluation
        self._turn = 0
        self._waiting: list[tuple[Batch, Graded]] = []  # events not yet sampled from
        self._waiting_events = 0
        self._seen = np.zeros(0, dtype=np.int64)  # (C,) events of each class
        self._chance = np.zeros(0)  # (C,) lower bound of the probability that its next event is held
        self._accuracies = np.zeros((0, _WINDOW))  # (C, Δ) newest last, NaN before the first
        self._lowest = np.zeros(0)  # (C,) since learned, NaN before
        self._drop, self._rise = np.zeros(0), np.zeros(0)  # (C,) NaN before the second evaluation
        self._held: dict[str, Array] = {
            name: np.zeros((0, *spec.shape), dtype=_held_as(spec)) for name, spec in self._specs.items() if self._most
        }
        self._columns: tuple[tuple[str, ...], int, NDArray[np.intp]] | None = None

    def predicted(self, batch: Batch, predictor: Predictor, live: Prequential) -> None:
        """Evaluate the classes that are due, then sample from a batch that is graded but not learned yet."""
        if not self._most:
            return
        self._due += self._share * len(batch)
        if self._due >= self._events * _TURNS:
            self._sample()
            self._evaluate(predictor, live)
        grades = live.grades
        if grades is not None and grades.alike.kind != "means":
            self._waiting.append((batch, grades))
            self._waiting_events += len(batch)
            if self._waiting_events >= self._most_waiting:
                self._sample()

    def metrics(self) -> dict[str, float]:
        """The values of `METRICS` that are known; {} before the first evaluation.

        `accuracy` is the mean of the classes' latest accuracies; `recent_forgetting` is WF over the latest Δ
        evaluations of each class, while the others cover the whole history.
        """
        kept = ~strays(self._seen)  # a mistyped label is no class that was forgotten
        rows, lowest, fall, rise = (one[kept] for one in (self._accuracies, self._lowest, self._drop, self._rise))
        latest = rows[:, -1]
        known = ~np.isnan(latest)
        if not known.any():
            return {}
        found = {"accuracy": float(latest[known].mean())}
        earlier = lowest[:-1][~np.isnan(lowest[:-1])]
        if len(earlier):
            found["min_accuracy"] = least = float(earlier.mean())
            if known[-1]:
                classes = len(earlier) + 1
                found["worst_case_accuracy"] = float(latest[-1]) / classes + (1 - 1 / classes) * least
        for name, column in (("windowed_forgetting", fall), ("windowed_plasticity", rise)):
            if len(measured := column[~np.isnan(column)]):
                found[name] = float(measured.mean())
        twice = rows[~np.isnan(rows[:, -2])]
        if len(twice):
            highest = np.fmax.accumulate(twice, axis=1)
            found["recent_forgetting"] = float(np.nanmax(highest - twice, axis=1).mean())
        return found

    def _evaluate(self, predictor: Predictor, live: Prequential) -> None:
        """Evaluate the next classes in turn, each in full."""
        count, each = len(self._seen), self._events
        turns = min(int(self._due // each), count)
        self._due = min(self._due - turns * each, float(each))
        if not turns:
            return
        turn = (self._turn + np.arange(turns)) % count
        self._turn = int((turn[-1] + 1) % count)
        turn = turn[self._seen[turn] > 0]
        sizes = np.minimum(self._seen[turn], each)
        if not len(sizes):
            return
        begins = np.cumsum(sizes) - sizes
        slots = np.arange(sizes.sum()) + np.repeat(turn * each - begins, sizes)
        outputs = predictor.predict({name: _given(held[slots]) for name, held in self._held.items()})
        columns = self._columns_of(predictor.classes, live)[np.repeat(turn, sizes)]
        right = grading_of(task_of(predictor, outputs)).right(outputs, np.repeat(turn, sizes), columns)
        self._note(turn, np.add.reduceat(right, begins, dtype=np.float64) / sizes)

    def _note(self, turn: NDArray[np.intp], accuracy: NDArray[np.float64]) -> None:
        """Record the accuracies of these classes, (M,) each."""
        window = np.concatenate([self._accuracies[turn, 1:], accuracy[:, None]], axis=1)
        again = ~np.isnan(window[:, -2])
        self._accuracies[turn] = window
        if again.any():
            then, newest, window = turn[again], accuracy[again], window[again]
            self._drop[then] = np.fmax(self._drop[then], np.fmax.reduce(window, axis=1) - newest)
            self._rise[then] = np.fmax(self._rise[then], newest - np.fmin.reduce(window, axis=1))
        learned = (turn < len(self._seen) - 1) & (self._seen[turn] >= _LEARNED * self._events)
        self._lowest[turn] = np.where(learned, np.fmin(self._lowest[turn], accuracy), self._lowest[turn])

    def _columns_of(self, classes: tuple[str, ...], live: Prequential) -> NDArray[np.intp]:
        """The columns of the tracked classes in a predictor's scores, (C,), -1 if unknown to it."""
        known = self._columns
        if known is None or known[0] != classes or known[1] != len(self._seen):
            where = {name: column for column, name in enumerate(classes)}
            columns = np.array([where.get(name, -1) for name in live.classes[: len(self._seen)]], dtype=np.intp)
            self._columns = known = (classes, len(self._seen), columns)
        return known[2]

    def _sample(self) -> None:
        """Sample from the waiting events into the held slots. The result does not depend on when this happens."""
        waiting, self._waiting, self._waiting_events = self._waiting, [], 0
        if not waiting:
            return
        label = np.concatenate([labels for _, graded in waiting if (labels := graded.labels) is not None])
        draws = self._generator.random(len(label))
        self._draws += len(label)
        self._grow(min(int(label.max()) + 1, self._most))
        chance = np.append(self._chance, 0.0)  # for classes that are not tracked
        label = np.minimum(label, len(self._seen))
        each, horizon = self._events, _HORIZON * self._events
        drawn = np.flatnonzero(draws < chance[label])  # the chance only falls, so no event is missed
        number = label[drawn]
        nth = self._seen[number] + 1
        if len(nth) and nth.min() < horizon:  # beyond the horizon the count no longer matters
            nth += earlier_alike(label)[drawn]
        slot = np.where(nth <= each, nth - 1, (draws[drawn] * np.minimum(nth, horizon)).astype(np.int64))
        taken = slot < each
        self._copy(waiting, drawn[taken], (number * each + slot)[taken])
        self._seen += np.bincount(label, minlength=len(chance))[:-1]
        self._chance = each / np.minimum(self._seen + 1, horizon)

    def _copy(self, waiting: list[tuple[Batch, Graded]], drawn: NDArray[np.intp], slots: NDArray[np.intp]) -> None:
        """Copy the events at these positions among all waiting ones, in order, into these slots."""
        ends = np.cumsum([len(graded) for _, graded in waiting])
        parts = np.searchsorted(ends, drawn, side="right")
        for place, part, slot in zip((drawn - ends[parts]).tolist(), parts.tolist(), slots.tolist()):
            batch, graded = waiting[part]
            row = place + len(graded)
            if not isinstance(graded.rows, slice):
                row = int(graded.rows[row])
            for name, held in self._held.items():
                held[slot] = batch.inputs[name][row]

    def _grow(self, classes: int) -> None:
        more = classes - len(self._seen)
        if more <= 0:
            return
        self._seen = np.pad(self._seen, (0, more))
        self._chance = np.pad(self._chance, (0, more), constant_values=1.0)
        self._accuracies = np.pad(self._accuracies, ((0, more), (0, 0)), constant_values=np.nan)
        self._lowest, self._drop, self._rise = (
            np.pad(column, (0, more), constant_values=np.nan) for column in (self._lowest, self._drop, self._rise)
        )
        for name, held in self._held.items():
            new = np.zeros((more * self._events, *held.shape[1:]), dtype=held.dtype)
            self._held[name] = np.concatenate([held, new])

    def state(self) -> State:
        """The state that later figures depend on."""
        self._sample()
        tensors: dict[str, Array] = {"seen": self._seen, "accuracies": self._accuracies, "lowest": self._lowest}
        tensors |= {"fall": self._drop, "rise": self._rise}
        tensors |= {f"held.{name}": _stored(held) for name, held in self._held.items()}
        meta = {"kind": self._kind, "draws": self._draws, "owed": self._due, "turn": self._turn}
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        """Restore from `state()`; starts empty if the settings differ."""
        self._begin()
        if state.meta["kind"] != self._kind:
            return
        tensors = {name: tensor.copy() for name, tensor in state.tensors.items()}
        self._seen, self._accuracies, self._lowest = (tensors[n] for n in ("seen", "accuracies", "lowest"))
        self._drop, self._rise = tensors["fall"], tensors["rise"]
        self._held = {name: tensors[f"held.{name}"].view(held.dtype) for name, held in self._held.items()}
        self._draws, self._due, self._turn = (state.meta[name] for name in ("draws", "owed", "turn"))
        self._generator.bit_generator.advance(self._draws)  # type: ignore[attr-defined]  # PCG64 has it
        self._chance = self._events / np.minimum(self._seen + 1, _HORIZON * self._events)

    @property
    def _kind(self) -> list[int]:
        return [self._events, self._most, self._seed]


def _held_as(spec: TensorSpec) -> str:
    return f"S{_TEXT_BYTES}" if spec.dtype == "bytes" else spec.dtype


def _given(held: Array) -> Array:
    """Held inputs as a predictor takes them."""
    return held.astype(object) if held.dtype.kind == "S" else held


def _stored(held: Array) -> Array:
    """Held inputs as numbers."""
    return held.view(np.dtype((np.void, _TEXT_BYTES))).view(np.uint8) if held.dtype.kind == "S" else held


def _row_bytes(specs: Mapping[str, TensorSpec]) -> int:
    """Bytes of the inputs of one event; 0 if they are of variable size, or texts that are no columns."""
    for spec in specs.values():
        if (spec.dtype == "bytes" and not spec.optional) or any(size < 0 for size in spec.shape):
            return 0
    return sum(np.dtype(_held_as(spec)).itemsize * int(np.prod(spec.shape, dtype=int)) for spec in specs.values())
