"""What a prompted point process publishes: the network, and the latest events of every key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.histories import Histories, PublishedHistories, hash_key
from thalweg.models.contract.capabilities import Course
from thalweg.models.contract.learner import Predictor
from thalweg.models.parts.torch_setup import torch
from thalweg.models.prompt_tpp.network import UNKNOWN, Past, TppShape, answer_rows, prepare
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec
from thalweg.proto.task import SEQUENCE, Task

Floats = NDArray[np.float64]
KEY = {"key": TensorSpec("key", "bytes", (), ids=True)}
SHORTEST, LONGEST = 1e-6, 1e4
"""Minimum and maximum of a gap, in units."""
_AT_ONCE = 256
_PER_GAP = 24
_SHARES = (0.1, 0.5, 0.9)

_TASK = SEQUENCE.with_probabilities()


class ReadableHistories(Protocol):
    """The latest events of keys."""

    def read(self, keys: Sequence[int]) -> Histories:
        """Of keys, by hash."""

    def tensors(self) -> dict[str, Array]:
        """For a published version."""


class MarkovTable:
    """Type transitions as counts; row k: the types after k.

    Args:
        counts: (K, K), K at least the number of known types.
    """

    def __init__(self, counts: Floats) -> None:
        self.counts = counts

    def log_probabilities(self, last: NDArray[Any], known: int) -> NDArray[np.float32]:
        """Log-probabilities of the next type (N, K) after types (N,), smoothed by 0.5; UNKNOWN for unknown types."""
        rows = self.counts[last] + 0.5
        rows[:, known:] = 0.0
        shares = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300)
        logs = np.log(np.maximum(shares, 1e-300))
        found: NDArray[np.float32] = np.where(shares > 0, logs, UNKNOWN).astype(np.float32)
        return found


class PromptTppPredictor:
    """Predicts for a `key`, whose history is stored, or for explicit `times` and `types`.

    `next_time` is the expected time of the next event (on the clock of the events), `next_type` the most likely type,
    as an index into `classes`, `type_scores` the probability of each. An unknown key gets NaN, -1, and zeros.
    """

    def __init__(
        self,
        shape: TppShape,
        weights: Mapping[str, Array],
        histories: ReadableHistories,
        markov: MarkovTable,
        classes: Sequence[str],
        settings: Mapping[str, Any],
    ) -> None:
        self._shape, self._arrays, self._histories, self._markov = shape, weights, histories, markov
        self._weights = {name: torch.from_numpy(a if a.flags.writeable else np.array(a)) for name, a in weights.items()}
        self._classes, self._settings = tuple(classes), dict(settings)

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
        }

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        unit = self._settings["unit"]
        return {"scores": "probabilities", "time_unit_seconds": "unknown" if unit is None else repr(unit)}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        past = self._past(inputs)
        count, classes = len(past.lengths), len(self._classes)
        found = {
            "next_time": np.full(count, np.nan),
            "next_type": np.full(count, -1, dtype=np.int64),
            "type_scores": np.zeros((count, classes), dtype=np.float32),
        }
        known = np.flatnonzero(past.lengths > 0)
        if not classes or self._settings["unit"] is None:
            return found
        for start in range(0, len(known), _AT_ONCE):
            rows = known[start : start + _AT_ONCE]
            gaps, scores = self._next(past.take(rows))
            last = past.times[rows, past.lengths[rows] - 1]
            found["next_time"][rows] = last + gaps * self._settings["unit"]
            found["type_scores"][rows] = scores
            found["next_type"][rows] = scores.argmax(axis=1)
        return found

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        """Predictions for each event before it is learned, given the events above it; and metrics of the events.

        Beside `outputs`, all (N,) float64 and NaN where there is no prediction (a key's first event, one older than
        its key's newest, a type not seen yet): `last_time` of the key, `log_likelihood` of gap and type (the gap in the
        model's unit), `hazard`, ∫ λ up to the event.
        """
        count = len(batch)
        found = {"last_time": np.full(count, np.nan), "log_likelihood": np.full(count, np.nan)}
        found |= {"hazard": np.full(count, np.nan), "next_time": np.full(count, np.nan)}
        found |= {"next_type": np.full(count, -1), "type_scores": np.zeros((count, len(self._classes)), np.float32)}
        pasts, kinds = self._as_it_comes(batch)
        last = pasts.times[np.arange(count), np.maximum(pasts.lengths, 1) - 1]
        rows = np.flatnonzero((pasts.lengths > 0) & (batch.times >= last))
        unit = self._settings["unit"]
        if not self._classes or unit is None or not len(rows):
            return found
        found["last_time"][rows] = last[rows]
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            gaps = torch.from_numpy(((batch.times[part] - last[part]) / unit).clip(SHORTEST, LONGEST))
            known = (kinds[part] >= 0) & (kinds[part] < len(self._classes))
            with torch.no_grad():
                ready = prepare(self._shape, self._weights, self.past(pasts.take(part)))
                horizon = torch.full((len(part),), self._settings["horizon"], dtype=torch.float64)
                told = ready.forecast(horizon, self._settings["forecast_nodes"])
                likelihood = ready.log_likelihood(gaps, torch.from_numpy(np.where(known, kinds[part], 0)))
                hazard = ready.hazard(gaps)
            found["log_likelihood"][part] = np.where(known, likelihood.double().numpy(), np.nan)
            found["hazard"][part] = hazard.double().numpy()
            found["next_time"][part] = last[part] + told.gap.numpy() * unit
            scores = told.types[:, : len(self._classes)].numpy()
            found["type_scores"][part], found["next_type"][part] = scores, scores.argmax(axis=1)
        return found

    def _as_it_comes(self, batch: Batch) -> tuple[Histories, NDArray[np.int64]]:
        """The history of each event of a batch, and its type: -1 for none, from `classes` on for new ones."""
        codes = {name: code for code, name in enumerate(self._classes)}
        keys = [hash_key(key) for key in batch.inputs["key"]]
        firsts: dict[int, int] = {}
        place = np.array([firsts.setdefault(key, len(firsts)) for key in keys], dtype=np.int64)
        now = self._histories.read(list(firsts))  # copied, so that it may change below
        kinds = np.full(len(keys), -1, dtype=np.int64)
        pasts = now.take(place)
        labels, window = batch.labels, now.times.shape[1]
        if not isinstance(labels, ClassLabels):
            return pasts, kinds
        for row, (at, code) in enumerate(zip(place.tolist(), labels.codes.tolist())):
            pasts.times[row], pasts.types[row], pasts.lengths[row] = now.times[at], now.types[at], now.lengths[at]
            moment, length = batch.times[row], int(now.lengths[at])
            if code < 0 or not np.isfinite(moment) or batch.weights[row] <= 0:
                continue
            name = labels.names[code]
            if name not in codes and len(codes) < self._shape.types:
                codes[name] = len(codes)
            kinds[row] = kind = codes.get(name, -1)
            if kind < 0 or (length and moment < now.times[at, length - 1]):
                continue
            if length == window:
                now.times[at, :-1], now.types[at, :-1] = now.times[at, 1:].copy(), now.types[at, 1:].copy()
                length -= 1
            now.times[at, length], now.types[at, length], now.lengths[at] = moment, kind, length + 1
        return pasts, kinds

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
        """Times by which the next event occurs with probability 0.1, 0.5 and 0.9, and the prompts in use, at most this
        many, by row: the time is null beyond the horizon. For an unknown key: nothing."""
        past, unit = self._past(inputs), self._settings["unit"]
        told: list[list[dict[str, Any]]] = [[] for _ in past.lengths]
        if unit is None:
            return told
        for row in np.flatnonzero(past.lengths > 0):
            one = past.take(np.full(answer_rows(1), row))
            with torch.no_grad():
                ready = prepare(self._shape, self._weights, self.past(one))
                end = torch.full((len(one.lengths),), self._settings["horizon"], dtype=torch.float64)
                next_event = ready.forecast(end, self._settings["forecast_nodes"])
            last = float(one.times[0, one.lengths[0] - 1])
            for share in _SHARES:
                age = float(next_event.quantile(share)[0])
                time = None if age >= float(end[0]) else last + age * unit
                told[row].append({"quantile": share, "next_time": time})
            for pool, places in ready.chosen.items():
                told[row].append({"pool": pool, "prompts": places[0, :most].tolist()})
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
            rates = prepare(self._shape, self._weights, self.past(before)).rates(torch.from_numpy(ages)).numpy()
        types = whole.types[0, :count].astype(np.int64)
        return Course(
            (times[:-1, None] + ages * unit).ravel(),
            np.concatenate(rates[..., : len(self._classes)]) / unit,
            times,
            types,
        )

    def _next(self, past: Histories) -> tuple[Floats, NDArray[np.float32]]:
        """Expected gaps (N,) in units, probabilities (N, classes)."""
        count = len(past.lengths)
        padded = past.take(np.minimum(np.arange(answer_rows(count)), count - 1))
        with torch.no_grad():
            ready = prepare(self._shape, self._weights, self.past(padded))
            horizon = torch.full((len(padded.lengths),), self._settings["horizon"], dtype=torch.float64)
            told = ready.forecast(horizon, self._settings["forecast_nodes"])
        return told.gap[:count].numpy(), told.types[:count, : len(self._classes)].numpy().astype(np.float32)

    def past(self, histories: Histories) -> Past:
        """Histories, all with one event or more, in the network's format."""
        last = histories.types[np.arange(len(histories.lengths)), histories.lengths - 1]
        markov = self._markov.log_probabilities(last, len(self._classes))
        return Past.of(*histories, markov, self._settings["unit"])

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
        tensors = {f"network.{name}": array for name, array in self._arrays.items()}
        tensors |= {f"history.{name}": array for name, array in self._histories.tensors().items()}
        tensors["markov"] = self._markov.counts
        meta = {"shape": asdict(self._shape), "classes": list(self._classes), "settings": self._settings}
        return State(tensors, meta)

    @classmethod
    def of(cls, state: State) -> PromptTppPredictor:
        """The predictor of a `state()`; maps of a file are used in place."""

        def below(prefix: str) -> dict[str, Array]:
            return {
                name.removeprefix(prefix): array for name, array in state.tensors.items() if name.startswith(prefix)
            }

        histories = PublishedHistories(below("history."))
        markov = MarkovTable(state.tensors["markov"])
        meta = state.meta
        return cls(TppShape(**meta["shape"]), below("network."), histories, markov, meta["classes"], meta["settings"])
