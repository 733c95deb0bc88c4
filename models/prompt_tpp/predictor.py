"""What a prompted point process publishes: its experts, and the latest events of every key."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.histories import Histories, PublishedHistories, hash_key
from thalweg.models.contract.capabilities import Course
from thalweg.models.contract.learner import Predictor
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.models.prompt_tpp.as_it_comes import ReadableHistories, as_it_comes, extended
from thalweg.models.prompt_tpp.closed_form import LONGEST, SHORTEST, MarkovTable
from thalweg.models.prompt_tpp.network import Past, answer_rows
from thalweg.models.prompt_tpp.next_event import NextEvent
from thalweg.models.prompt_tpp.process import Forecast
from thalweg.models.prompt_tpp.reading import Reading, Said
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec
from thalweg.proto.task import SEQUENCE, Task

Floats = NDArray[np.float64]
KEY = {"key": TensorSpec("key", "bytes", (), ids=True)}
_AT_ONCE = 256
_PER_GAP = 24
_SHARES = (0.1, 0.5, 0.9)

NEVER_SEEN = 1e-3
"""Probability of a type never seen, where no events were counted."""
_TASK = SEQUENCE.with_probabilities()


class PromptTppPredictor:
    """Predicts for a `key`, whose history is stored, or for explicit `times` and `types`.

    `next_time` is the expected time of the next event (on the clock of the events), `type_scores` the probability of
    each type, `next_type` the most likely one, as an index into `classes`, by experts weighed by their wrong types. An
    unknown key gets NaN, -1, and zeros. With `ahead`, `next_times` and `next_types` are the next events, this many:
    each the expected one after those before.
    """

    def __init__(
        self,
        reading: Reading,
        histories: ReadableHistories,
        markov: MarkovTable,
        classes: Sequence[str],
        settings: Mapping[str, Any],
    ) -> None:
        self._reading, self._histories, self._markov = reading, histories, markov
        self._classes, self._settings = tuple(classes), dict(settings)
        self._ahead = int(settings.get("ahead", 0))

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return KEY

    @property
    def alternative_inputs(self) -> Mapping[str, TensorSpec]:
        """A history in the request; types are indices into `classes`."""
        return {"times": TensorSpec("times", "float64", (-1,)), "types": TensorSpec("types", "int64", (-1,))}

    @property
    def task(self) -> Task:
        return _TASK

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {
            "next_time": TensorSpec("next_time", "float64", ()),
            "next_type": TensorSpec("next_type", "int64", ()),
            "type_scores": TensorSpec("type_scores", "float32", (-1,)),
            **({"next_times": TensorSpec("next_times", "float64", (self._ahead,))} if self._ahead else {}),
            **({"next_types": TensorSpec("next_types", "int64", (self._ahead,))} if self._ahead else {}),
        }

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        unit = self._settings["unit"]
        return {"scores": "probabilities", "time_unit_seconds": "unknown" if unit is None else repr(unit)}

    @property
    def _unit(self) -> Any:
        """Seconds; until the unit is fixed, the median of the gaps that there are. None: there are none."""
        unit = self._settings["unit"]
        return self._settings.get("guess") if unit is None else unit

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        past = self._past(inputs)
        count, classes = len(past.lengths), len(self._classes)
        found = {
            "next_time": np.full(count, np.nan),
            "next_type": np.full(count, -1, dtype=np.int64),
            "type_scores": np.zeros((count, classes), dtype=np.float32),
        }
        if self._ahead:
            found["next_times"] = np.full((count, self._ahead), np.nan)
            found["next_types"] = np.full((count, self._ahead), -1, dtype=np.int64)
        known = np.flatnonzero(past.lengths > 0)
        if not classes or self._unit is None:
            return found
        for start in range(0, len(known), _AT_ONCE):
            rows = known[start : start + _AT_ONCE]
            here = past.take(rows)
            moments, answers, found["type_scores"][rows] = self._next(here)
            found["next_time"][rows], found["next_type"][rows] = moments, answers
            if self._ahead:
                found["next_times"][rows], found["next_types"][rows] = self._steps(here, moments, answers, self._ahead)
        return found

    def predict_ahead(self, inputs: Inputs, count: int) -> tuple[Floats, NDArray[np.int64]]:
        """The next events of each row, one after the other: each the expected one, given those before.

        Args:
            inputs: As of `predict`.
            count: How many, 1 or more.

        Returns:
            Times and types (N, count); NaN and -1 where nothing can be predicted.
        """
        past = self._past(inputs)
        times, types = np.full((len(past.lengths), count), np.nan), np.full((len(past.lengths), count), -1, np.int64)
        known = np.flatnonzero(past.lengths > 0)
        if self._classes and self._unit is not None:
            for start in range(0, len(known), _AT_ONCE):
                rows = known[start : start + _AT_ONCE]
                here = past.take(rows)
                times[rows], types[rows] = self._steps(here, *self._next(here)[:2], count)
        return times, types

    def _steps(
        self, past: Histories, moments: Floats, answers: NDArray[np.int64], count: int
    ) -> tuple[Floats, NDArray[np.int64]]:
        times, types = [moments], [answers]
        while len(times) < count:
            past = extended(past, times[-1], types[-1])
            moments, answers, _ = self._next(past)
            times.append(moments)
            types.append(answers)
        return np.stack(times, axis=1), np.stack(types, axis=1)

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        """Predictions for each event before it is learned, given the events above it; and metrics of the events.

        Beside `outputs`, all (N,) float64 and NaN where there is no prediction (a key's first event, one older than
        its key's newest): `last_time` of the key, `log_likelihood` of gap and type (the gap in the model's unit; a type
        not seen yet has the probability that such a type has, and the density of any event's gap), `hazard`, ∫ λ up to
        the event. The last two only once the unit is fixed.
        """
        count, classes = len(batch), len(self._classes)
        found = {name: np.full(count, np.nan) for name in ("last_time", "log_likelihood", "hazard", "next_time")}
        found |= {"next_type": np.full(count, -1), "type_scores": np.zeros((count, classes), np.float32)}
        unit = self._unit
        for part, last, past, gaps, kinds in self._before(batch):
            with torch.no_grad():
                said = self._reading.next_event(past, unit)
                told = said.forecast(self._horizon(past), self._settings["forecast_nodes"])
                if self._settings["unit"] is not None:  # in a guessed one they could not be compared with later ones
                    found["log_likelihood"][part] = self._log_likelihood(said, gaps, kinds)
                    found["hazard"][part] = said.hazard(gaps).double().numpy()
            found["last_time"][part] = last
            found["next_time"][part] = last + told.gap.numpy() * unit
            found["type_scores"][part] = told.types[:, :classes].numpy()
            found["next_type"][part] = _answers(said, told).numpy()
        if isinstance(batch.labels, ClassLabels):
            found["log_likelihood"][~batch.labels.present] = np.nan
        return found

    def each_alone(self, batch: Batch) -> dict[str, tuple[Floats, NDArray[np.int64]]]:
        """How each expert alone would be graded: per event, the log-likelihood (N,), NaN where there is no prediction,
        and the type that is answered (N,). `mixture` is all of them together. Only with `base = "experts"`."""
        names = [*(self._reading.members or ()), "mixture"]
        found = {name: (np.full(len(batch), np.nan), np.full(len(batch), -1)) for name in names}
        unit = self._settings["unit"]
        for part, _, past, gaps, kinds in self._before(batch):
            with torch.no_grad():
                ready = self._reading.prepared(past)
                whole = self._reading.next_event(past, unit, ready)
                assert isinstance(whole, NextEvent)
                for name, said in {**self._reading.each(past, unit, ready), "mixture": whole}.items():
                    found[name][0][part] = self._log_likelihood(said, gaps, kinds)
                    found[name][1][part] = said.answers.numpy()
        return found

    def _before(self, batch: Batch) -> Iterator[tuple[NDArray[np.intp], Floats, Past, Tensor, NDArray[np.int64]]]:
        """The events that can be predicted, a part at a time: their rows; the time of each key's last event; the
        histories; the gaps, in units; the types, -1 for one not seen yet."""
        pasts, kinds = as_it_comes(self._histories, batch, self._classes, self._settings["types"])
        last = pasts.times[np.arange(len(batch)), np.maximum(pasts.lengths, 1) - 1]
        rows = np.flatnonzero((pasts.lengths > 0) & (batch.times >= last))
        unit = self._unit
        if not self._classes or unit is None:
            return
        kinds = np.where(kinds < len(self._classes), kinds, -1)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            gaps = torch.from_numpy(((batch.times[part] - last[part]) / unit).clip(SHORTEST, LONGEST))
            yield part, last[part], self.past(pasts.take(part)), gaps, kinds[part]

    def _log_likelihood(self, said: Said, gaps: Tensor, kinds: NDArray[np.int64]) -> Floats:
        """(N,); an event of a type not seen yet (-1) is one of any type, times the probability of such a type."""
        new = self._settings["unseen"]
        known = said.log_likelihood(gaps, torch.from_numpy(np.maximum(kinds, 0))).double().numpy() + math.log1p(-new)
        if (kinds >= 0).all():
            return known
        of_any = said.any_log_likelihood(gaps).double().numpy() + math.log(new)
        return np.where(kinds >= 0, known, of_any)

    def with_history_of(self, newer: Predictor) -> PromptTppPredictor:
        """This network and table, applied to the histories of another predictor."""
        assert isinstance(newer, PromptTppPredictor)
        return self.with_histories(newer._histories)

    def with_histories(self, histories: ReadableHistories) -> PromptTppPredictor:
        """This network and table, applied to these."""
        taken = copy(self)
        taken._histories = histories
        return taken

    def explain(self, inputs: Inputs, most: int = 10) -> list[list[dict[str, Any]]]:
        """Times by which the next event occurs with probability 0.1, 0.5 and 0.9, the prompts in use, at most this
        many, and the experts' weights, by row: the time is null beyond the horizon. For an unknown key: nothing."""
        past, unit = self._past(inputs), self._unit
        told: list[list[dict[str, Any]]] = [[] for _ in past.lengths]
        if unit is None:
            return told
        for row in np.flatnonzero(past.lengths > 0):
            one = past.take(np.full(answer_rows(1), row))
            with torch.no_grad():
                here = self.past(one)
                ready = self._reading.prepared(here)
                said = self._reading.next_event(here, unit, ready)
                end = self._horizon(here)
                next_event = said.forecast(end, self._settings["forecast_nodes"])
            last = float(one.times[0, one.lengths[0] - 1])
            for share in _SHARES:
                age = float(next_event.quantile(share)[0])
                time = None if age >= float(end[0]) else last + age * unit
                told[row].append({"quantile": share, "next_time": time})
            for name, network in ready.items():
                for pool, places in network.chosen.items():
                    whole = pool if self._reading.members is None else f"{name}.{pool}"
                    told[row].append({"pool": whole, "prompts": places[0, :most].tolist()})
            for name, *weights in zip(self._reading.members or (), *self._reading.weights):
                parts = zip(("types", "gaps", "answers"), weights)
                told[row].append({"expert": name, **{f"weight_of_{part}": weight for part, weight in parts}})
        return told

    def course(self, key: bytes) -> Course | None:
        """Intensity of each type at any time between a key's latest events; None if there are fewer than two."""
        whole = self._histories.read([hash_key(key)])
        count, unit = int(whole.lengths[0]), self._settings["unit"]
        if count < 2 or unit is None:
            return None
        before = Histories(
            np.repeat(whole.times, count - 1, axis=0), np.repeat(whole.types, count - 1, axis=0), np.arange(1, count)
        )
        times = whole.times[0, :count]
        shares = np.linspace(0.0, 1.0, _PER_GAP + 1)[1:] ** 2  # intensities change most right after an event
        ages = np.maximum(np.diff(times) / unit, SHORTEST)[:, None] * shares
        with torch.no_grad():
            rates = self._reading.next_event(self.past(before), unit).rates(torch.from_numpy(ages)).numpy()
        types = whole.types[0, :count].astype(np.int64)
        return Course(
            (times[:-1, None] + ages * unit).ravel(),
            np.concatenate(rates[..., : len(self._classes)]) / unit,
            times,
            types,
        )

    def _next(self, past: Histories) -> tuple[Floats, NDArray[np.int64], NDArray[np.float32]]:
        """Expected times (N,), on the events' clock; types to answer (N,); probabilities (N, classes)."""
        count, unit = len(past.lengths), self._unit
        padded = past.take(np.minimum(np.arange(answer_rows(count)), count - 1))
        with torch.no_grad():
            here = self.past(padded)
            said = self._reading.next_event(here, unit)
            told = said.forecast(self._horizon(here), self._settings["forecast_nodes"])
        last = past.times[np.arange(count), past.lengths - 1]
        moments: Floats = last + told.gap[:count].numpy() * unit
        scores = told.types[:count, : len(self._classes)].numpy().astype(np.float32)
        return moments, _answers(said, told)[:count].numpy(), scores

    def _horizon(self, past: Past) -> Tensor:
        """Maximum ages (B,): so many units, or so many mean gaps of a key that is slower than that."""
        last = past.ages.gather(1, past.lengths[:, None] - 1)[:, 0]
        mean = last / (past.lengths - 1).clamp(min=1)
        horizon: Tensor = self._settings["horizon"] * mean.clamp(1.0, LONGEST)
        return horizon

    def past(self, histories: Histories) -> Past:
        """Histories, all with one event or more, in the network's format."""
        last = histories.types[np.arange(len(histories.lengths)), histories.lengths - 1]
        markov = self._markov.log_probabilities(last, len(self._classes))
        return Past.of(*histories, markov, self._unit)

    def _past(self, inputs: Inputs) -> Histories:
        unknown = sorted(set(inputs) - {"key", "times", "types"})
        if unknown:
            raise InputError(f"input {unknown[0]!r}: unknown; expected 'key', or 'times' and 'types'")
        if "key" in inputs and len(inputs) == 1:
            column = inputs["key"]
            if column.ndim != 1 or column.dtype != object:
                raise InputError(f"input 'key': expected (N) bytes, got {column.shape} {column.dtype}")
            return self._histories.read([hash_key(key) for key in column])
        if set(inputs) != {"times", "types"}:
            missing = "key" if not inputs or "key" in inputs else sorted({"times", "types"} - set(inputs))[0]
            raise InputError(f"input {missing!r}: expected 'key' alone, or 'times' and 'types', got {sorted(inputs)}")
        return self._explicit(inputs["times"], inputs["types"])

    def _explicit(self, times: Array, types: Array) -> Histories:
        if times.ndim != 2 or times.dtype != np.float64 or not times.shape[1]:
            raise InputError(f"input 'times': expected (N, L) float64, L 1 or more, got {times.shape} {times.dtype}")
        if types.shape != times.shape or types.dtype != np.int64:
            raise InputError(f"input 'types': expected {times.shape} int64, got {types.shape} {types.dtype}")
        if not np.isfinite(times).all() or (np.diff(times, axis=1) < 0).any():
            raise InputError("input 'times': expected finite times in ascending order")
        if ((types < 0) | (types >= len(self._classes))).any():
            raise InputError(f"input 'types': expected 0 to {len(self._classes) - 1}, indices into `classes`")
        window = self._settings["window"]
        times, types = times[:, -window:], types[:, -window:].astype(np.int16)
        return Histories(times, types, np.full(len(times), times.shape[1], dtype=np.int64))

    def state(self) -> State:
        reading = self._reading.state()
        tensors = dict(reading.tensors)
        tensors |= {f"history.{name}": array for name, array in self._histories.tensors().items()}
        tensors["markov"] = self._markov.counts
        meta = {**reading.meta, "classes": list(self._classes), "settings": self._settings}
        return State(tensors, meta)

    @classmethod
    def of(cls, state: State) -> PromptTppPredictor:
        """The predictor of a `state()`; maps of a file are used in place."""
        tensors, meta = state.tensors, state.meta
        prefix = "history."
        columns = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        markov = MarkovTable(tensors["markov"])
        settings = {"types": len(tensors["markov"]), "unseen": NEVER_SEEN, **meta["settings"]}  # of a version before
        return cls(Reading.of(state), PublishedHistories(columns), markov, meta["classes"], settings)


def _answers(said: Said, told: Forecast) -> Tensor:
    """The types to answer, (B,): an intensity has none but the most likely within the horizon."""
    return said.answers if isinstance(said, NextEvent) else told.types.argmax(dim=1)
