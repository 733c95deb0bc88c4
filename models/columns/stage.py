"""The feature stage: learns scales and categories of named columns online, and turns columns into features.

The features of an event are computed with what the stage knew just before it: a predictor published at that moment
has the same bits, but leaves at 0 those that were 0 in all events learned so far (a mark of missing values where none
was missing, a constant that changes): of them nothing was learned, and their weights may be random. Scales step after
1, 2, 3 … 8, 10, 12, 15, 18, 22 … events (`RunningScale`), and so does the most frequent category; a category has its
own feature from the event after its `min_events`-th on. All this depends on the events and their order alone, so the
features of a log are the same bits however it is cut into batches.

State: with S scaled numbers, and for a categorical column with m = `max_categories`, at most
    90 S + F + 8 + Σ (m + max(1024, 2 m)) (64 + 8) bytes,
as tensors, F features; a published version holds 16 S + F + 68 m of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.columns.categories import NOTHING, Categories, packed, unpacked
from thalweg.models.columns.numbers import RunningScale
from thalweg.models.columns.transform import FIRED, Known, Transform, fired_in
from thalweg.models.parts.running_scale import Move
from thalweg.proto.event import Batch
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Array, Inputs


class FeatureStage:
    """Turns columns into the one input `features`; driven by one thread.

    Args:
        columns: By name, at least one; or their transform.
        seed: Of the hashes, if columns are given.

    Raises:
        ParamsError: There is no column; key `columns`.
    """

    def __init__(self, columns: Mapping[str, Column] | Transform, seed: int = 0) -> None:
        self.transform = columns if isinstance(columns, Transform) else Transform(columns, seed)
        layout = self.transform.layout
        self._scale = RunningScale(layout.scaled)
        self._categories = [Categories(span) for span in layout.categorical]
        self._imputed = self.transform.categorical.imputed
        self._first = [layout.categorical[number].first for number in self._imputed]
        self._frequencies = [np.zeros(layout.categorical[number].own, np.int64) for number in self._imputed]
        self._modes = (NOTHING,) * len(self._imputed)
        self._steps = bool(layout.scaled or self._imputed)
        self._fired = np.zeros(layout.width, np.bool_)
        self._known: Known | None = None

    @property
    def known(self) -> Known:
        """What it knows now; the same object as long as that is the same."""
        if self._known is None:
            shift, factor = self._scale.in_use()
            tables = tuple(one.table for one in self._categories)
            categories = tuple(tuple(one.known) for one in self._categories)
            self._known = Known(shift, factor, tables, categories, self._modes, self._fired.copy())
        return self._known

    def features(self, inputs: Inputs) -> Inputs:
        """The features that `learn` would give to each event, were it the next; changes nothing. Raises InputError."""
        return self.transform.features(inputs, self.known, silent=False)

    def learn(self, batch: Batch) -> Batch:
        """The batch with features as inputs, each event's computed before it was learned. Raises InputError."""
        columns, rows = self.transform.checked(batch.inputs, again=True)
        out = np.zeros((rows, self.transform.layout.width), dtype=np.float32)
        start = 0
        while start < rows:
            start = self._stretch(columns, out, start)
        self._note_fired(out)
        return replace(batch, inputs=self.transform.handed_on(columns, out))

    def learn_moving(self, batch: Batch) -> Iterator[tuple[Batch, Move | None]]:
        """As `learn`, in parts: after each but the last, the scale of the features has moved. Raises InputError.

        For a learner that re-expresses what it has learned: it has to learn a part before the next is asked for.
        """
        columns, rows = self.transform.checked(batch.inputs, again=True)
        out = np.zeros((rows, self.transform.layout.width), dtype=np.float32)
        start = begin = 0
        while start < rows:
            steps = self._steps and self._scale.steps_after(rows - start)
            before = self._scale.in_use() if steps else None
            start = self._stretch(columns, out, start)
            move = None if before is None else self._moved(*before)
            if move is not None or start == rows:
                self._note_fired(out[begin:start])
                inputs = (
                    columns if begin == 0 and start == rows else {k: one[begin:start] for k, one in columns.items()}
                )
                part = batch if inputs is columns else batch[begin:start]
                yield replace(part, inputs=self.transform.handed_on(inputs, out[begin:start])), move
                begin = start

    def _moved(self, shift: Array, factor: Array) -> Move | None:
        """How the scale in use has moved since it was this, (S, 1) each; numbers that had none have not."""
        now, by = (one[:, 0] for one in self._scale.in_use())
        old, was = shift[:, 0], factor[:, 0]
        moved = np.flatnonzero((was > 0) & (by > 0) & ((now != old) | (by != was)))
        if not len(moved):
            return None
        by, was = by[moved], was[moved]
        return Move(moved, by / was, (old[moved] - now[moved]) * by)

    def _stretch(self, columns: Inputs, out: NDArray[np.float32], start: int) -> int:
        """Transform and learn the events from `start` on up to the next step at most; where that ended."""
        rows = len(out)
        end = min(rows, start + self._scale.next_step - self._scale.events) if self._steps else rows
        whole = start == 0 and end == rows
        self._take(columns if whole else {name: one[start:end] for name, one in columns.items()}, out[start:end])
        return end

    def _take(self, columns: Inputs, out: NDArray[np.float32]) -> None:
        """Transform and learn events up to the next step at most; writes their features."""
        plan, events = self.transform, len(out)
        values, missing = plan.numbers.gather(columns, events)
        of_scaled = None if missing is None else missing[: plan.numbers.scaled]
        scaled = self._scale.take(values[: plan.numbers.scaled], of_scaled)
        codes, texts = plan.categorical.codes(columns, tuple(one.table for one in self._categories), events)
        for one, row, texts_of, unknown in zip(self._categories, codes, texts, plan.categorical.others(codes, texts)):
            if unknown and one.count(texts_of, unknown, row):
                self._known = None
        for frequencies, number, first in zip(self._frequencies, self._imputed, self._first):
            present = codes[number][codes[number] != NOTHING]
            frequencies += np.bincount(present - first, minlength=len(frequencies))
        plan.write(out, columns, values, missing, scaled, codes, self._modes)
        if not self._steps:
            self._scale.events += events
        elif self._scale.advance(events):
            self._modes = tuple(
                first + int(frequencies.argmax()) if frequencies.any() else NOTHING
                for frequencies, first in zip(self._frequencies, self._first)
            )
            self._known = None

    def all_fire(self) -> None:
        """Every feature has an effect from the start: for a learner that was trained before it came here."""
        self._fired[:] = True
        self._known = None

    def _note_fired(self, out: NDArray[np.float32]) -> None:
        silent = np.flatnonzero(~self._fired)
        if len(silent):
            now = silent[out[:, silent].any(axis=0)]
            if len(now):
                self._fired[now] = True
                self._known = None

    @property
    def events(self) -> int:
        """Events learned."""
        return self._scale.events

    def names(self) -> list[str]:
        """The name of each feature now, (F,)."""
        return self.transform.names(self.known)

    # State

    def state(self) -> State:
        """All of it; arrays may be views, valid until the next `learn`."""
        waiting = [one.candidates() for one in self._categories]
        tensors: dict[str, Array] = {
            **self._scale.tensors(),
            **packed("categories", [one.known for one in self._categories]),
            **packed("candidates", [texts for texts, _ in waiting]),
            "candidates.events": np.array([count for _, times in waiting for count in times], np.int32),
            "frequencies": np.concatenate([*self._frequencies, np.zeros(0, np.int64)]),
            "modes": np.array(self._modes, np.int64),
            FIRED: self._fired,
        }
        meta = {"identity": self.transform.identity, "events": self._scale.events, "next": self._scale.next_step}
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        """Restore from `state()`. Raises ValueError if it was made of other columns; then nothing was changed."""
        tensors, meta = state.tensors, state.meta
        self.check(meta)
        self._scale.restore(tensors, meta["events"], meta["next"])
        counts = iter(tensors["candidates.events"].tolist())
        for one, known, texts in zip(
            self._categories, unpacked("categories", tensors), unpacked("candidates", tensors), strict=True
        ):
            one.restore(known, texts, [next(counts) for _ in texts])
        ends = np.cumsum([len(one) for one in self._frequencies])
        parts: Sequence[Array] = np.split(np.array(tensors["frequencies"]), ends[:-1]) if len(ends) else []
        self._frequencies = [part.copy() for part in parts]
        self._modes = tuple(tensors["modes"].tolist())
        self._fired = fired_in(tensors, self.transform.layout.width)
        self._known = None

    def merge(self, other: FeatureStage) -> None:
        """Add what another stage of the same columns learned; see `merging` for when that is right."""
        if self.events == 0:
            self.restore(other.state())
        elif other.events:
            self._scale.merge(other._scale)
            for one, theirs in zip(self._categories, other._categories):
                one.merge(theirs)
            for mine, more in zip(self._frequencies, other._frequencies):
                mine += more
            self._fired |= other._fired
            self._known = None

    def check(self, meta: Mapping[str, object]) -> None:
        """Raise ValueError if a state with this meta was made of other columns."""
        if meta.get("identity") != self.transform.identity:
            raise ValueError("the state was made of other columns, or with other options of a column or another seed")
