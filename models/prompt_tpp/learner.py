"""PromptTPP: the next event of each of many keys, when and of which type, learned from their interleaved stream.

Source: Xue et al., "Prompt-augmented Temporal Point Process for Streaming Event Sequence", NeurIPS 2023
(arXiv:2310.04993). An event is (key, time, type): the type is the event's label. Ours differs
(docs/learners/prompt_tpp.md says how): retrieval and expected time see a key's own past alone, prompts learn at every
step, the next event has a density in closed form, and type probabilities start from a Markov table with forgetting.
By default two networks and a learner that only counts are experts of one prediction (`experts.py`).
State: per key a window of events (10 bytes each); the networks and their moments; events that wait for a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, get_args

import numpy as np
import structlog

from thalweg.memory.devices.device import Device
from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.histories import KeyedHistories, hash_key
from thalweg.models.contract.gauges import (
    CLASSES,
    LEFT_OUT_STEPS,
    MEMORY_BYTES,
    MEMORY_ENTRIES,
    MEMORY_EVICTIONS,
    SKIPPED_EVENTS,
    GaugeSpec,
    GaugeValue,
)
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents, add_classes
from thalweg.models.parts.learning_rate import LearningRateBoost
from thalweg.models.parts.torch_setup import torch
from thalweg.models.prompt_tpp.closed_form import LONGEST, SHORTEST, MarkovTable
from thalweg.models.prompt_tpp.expert import Samples
from thalweg.models.prompt_tpp.experts import EXPERT_GAIN, EXPERT_LIKELIHOOD, EXPERT_SECONDS, EXPERT_WEIGHT, Experts
from thalweg.models.prompt_tpp.network import Base, Past
from thalweg.models.prompt_tpp.params import Params
from thalweg.models.prompt_tpp.predictor import KEY, PromptTppPredictor
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Schema

log = structlog.get_logger(__name__)

_IN_A_ROW = 3  # late events of a key, in order, that prove its newest ones wrong rather than themselves
_MOST_SUSPECTS = 1024  # keys
_NO_GAPS = 1.0  # seconds, the unit that answers where all events of each key have come at one time
_SILENCE = -1  # the type of a sample of silence
_COLUMNS = ("times", "types", "lengths", "markov", "gap", "type", "silent")
_OF_EXPERTS = ("base", "experts", "prompted")
LATE_EVENTS = GaugeSpec(
    name="late_events",
    help="Out-of-order events of a key that the learner skipped",
    kind="counter",
    metric="events_late_total",
)
SILENCES = GaugeSpec(
    name="silences",
    help="Periods without events that the learner learned from",
    kind="counter",
    metric="silences_learned_total",
)


class PromptTpp:
    """The learner `prompt_tpp`; parameters in `Params`, obligations in `models/contract/learner.py`.

    A key's first event only starts its history. Events older than their key's newest one are skipped and counted, as
    are events of types beyond `max_types`. If three of a key come late in a row, in order, and as many as are newer
    than they, the newer ones were outliers: they are taken back, so that one wrong time does not close a key. A step
    whose loss or gradient is not finite is skipped and counted.
    """

    least_batch_events: ClassVar = 64  # an optimiser's step of one event costs as much as one of many
    gauges_declared = (
        CLASSES,
        MEMORY_ENTRIES,
        MEMORY_EVICTIONS,
        MEMORY_BYTES,
        SKIPPED_EVENTS,
        EXCESS_EVENTS,
        LATE_EVENTS,
        SILENCES,
        LEFT_OUT_STEPS,
        EXPERT_WEIGHT,
        EXPERT_LIKELIHOOD,
        EXPERT_GAIN,
        EXPERT_SECONDS,
    )
    params_type, state_version, state_revision = Params, 1, 1
    learns_from = "events that are newer than their key's newest one, of types that it has room for"
    input_names = tuple(KEY)
    takes_device = True
    """Networks learn there; predictors stay with the processor. At usual sizes the processor is faster: never `auto`.
    """

    def __init__(self, context: LearnerContext) -> None:
        self.params = p = Params.of(context.params)
        if {name: replace(spec, ids=True) for name, spec in context.inputs.items()} != KEY:
            raise ParamsError(
                {"inputs": f"expected key = {{ shape = [], dtype = 'bytes' }} alone, got {list(context.inputs)}"}
            )
        self._context = context
        device = Device.open(context.device, context.device_bytes)
        self._experts, self.computed_on = Experts(p, context.seed, device), device.described()
        self._histories = KeyedHistories(p.window, p.keys)
        self._markov = MarkovTable(np.zeros((p.max_types, p.max_types)))
        self._classes: dict[str, int] = {}
        self._gaps = np.zeros(0)  # first gaps, in seconds, until there is a unit
        self._unit: float | None = None
        self._waiting = self._nothing()
        self._counts = dict.fromkeys(("late", "skipped", "silences", "events", "unseen"), 0)
        self._suspects: dict[int, tuple[int, float, float]] = {}  # of keys: late events in a row, first and last time
        self._boost = LearningRateBoost()
        self._excess = ExcessEvents("max_types", p.max_types)
        self._now = -np.inf  # the latest event's time, not the largest: one absurd time must not expire all keys
        self._predictor: PromptTppPredictor | None = None

    @property
    def schema(self) -> Schema:
        return Schema(KEY, "class")

    # Learning

    def learn(self, batch: Batch) -> None:
        if batch.labels is not None and not isinstance(batch.labels, ClassLabels):
            raise InputError(f"labels: expected the event's type, got {type(batch.labels).__name__}")
        if batch.labels is None or not len(batch):
            return
        samples: list[tuple[Any, ...]] = []
        before = self._now, len(self._histories), dict(self._counts)
        for row, code in enumerate(batch.labels.codes.tolist()):
            if code < 0 or batch.weights[row] <= 0:
                continue
            kind = self._type(batch.labels.names[code])
            moment = float(batch.times[row])
            if kind is None:
                self._excess.add(1, batch.labels.names[code])
            if kind is None or not np.isfinite(moment):
                self._counts["skipped"] += 1
                continue
            self._event(hash_key(batch.inputs["key"][row]), moment, kind, samples)
        if samples:
            self._wait(dict(zip(self._nothing(), (np.stack(column) for column in zip(*samples)))))
        if samples or before != (self._now, len(self._histories), self._counts):
            self._predictor = None

    def _type(self, name: str) -> int | None:
        self._counts["events"] += 1
        if name not in self._classes:
            self._counts["unseen"] += 1  # also every time that there is no room for it
            add_classes(self._classes, [name], self.params.max_types)
        return self._classes.get(name)

    def _event(self, key: int, moment: float, kind: int, samples: list[tuple[Any, ...]]) -> None:
        histories = self._histories
        last = histories.last(key)
        if last is not None and moment < last[0]:
            if not self._proves_outliers(key, moment):
                self._counts["late"] += 1
                return
            histories.take_back(key, moment)
            last = histories.last(key)
        if self._suspects:
            self._suspects.pop(key, None)
        if last is not None:
            samples.append(self._sample(key, moment, kind))
            self._markov.learn(last[1], kind, self.params.markov_memory)
            self._experts.count(last[1], kind, moment - last[0])
        elif (leaving := histories.leaving(key)) is not None:
            self._silence(leaving, samples)
        histories.push(key, moment, kind)
        self._now = moment
        self._tend_silent(samples)

    def _proves_outliers(self, key: int, moment: float) -> bool:
        """Note a late event. Whether it and those before it show that the newer events of its key were outliers.

        They do if they are several, no fewer than the newer ones, in order, and fit behind the rest of the history: a
        part of the stream that is sent again does not.
        """
        count, first, last = self._suspects.pop(key, (0, moment, moment))
        count, first = (count + 1, first) if count and moment >= last else (1, moment)
        if count >= _IN_A_ROW:
            past = self._histories.read([key])
            times = past.times[0, : past.lengths[0]]
            if np.count_nonzero(times > moment) <= count and (times[times <= moment] <= first).all():
                return True
        self._suspects[key] = count, first, moment
        if len(self._suspects) > _MOST_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
        return False

    def _tend_silent(self, samples: list[tuple[Any, ...]]) -> None:
        """Expire at most one key, and learn the silence of at most one: one each per event, so that a
        jump of the clock does not block learning."""
        histories, p = self._histories, self.params
        oldest = histories.oldest()
        if p.time_to_live and oldest is not None and self._now - histories.silent_since(oldest) > p.time_to_live:
            self._silence(oldest, samples)
            histories.drop(oldest)
        if p.silence_after and self._unit is not None and (quietest := histories.quietest()) is not None:
            key, until = quietest
            if self._now - until > p.silence_after * self._unit:
                self._silence(key, samples)
                histories.note_silence(key, self._now)

    def _silence(self, key: int, samples: list[tuple[Any, ...]]) -> None:
        """Learn that a key had no event until now."""
        if self._now > self._histories.silent_until(key):
            samples.append(self._sample(key, self._now, _SILENCE))
            self._counts["silences"] += 1

    def _sample(self, key: int, moment: float, kind: int) -> tuple[Any, ...]:
        past = self._histories.read([key])
        last = past.times[0, past.lengths[0] - 1]
        kinds = past.types[:1, past.lengths[0] - 1]
        markov = self._markov.log_probabilities(kinds, len(self._classes))[0]
        silent = self._histories.silent_until(key) - last  # of which this much was learned already
        found = past.times[0], past.types[0], past.lengths[0], markov, moment - last, np.int64(kind), silent
        return (*found, *(column[0] for column in self._experts.noted(kinds).values()))

    def _wait(self, more: dict[str, Array]) -> None:
        """Add samples to the waiting ones; determine the unit first, then step whenever there are enough."""
        p = self.params
        self._waiting = {name: np.concatenate([self._waiting[name], column]) for name, column in more.items()}
        if self._unit is None:
            gaps = more["gap"][(more["gap"] > 0) & (more["type"] >= 0)]
            self._gaps = np.concatenate([self._gaps, gaps])[: p.unit_gaps]
            keep = 4 * p.unit_gaps  # a stream with a single time stamp must not accumulate for ever
            if len(self._gaps) < p.unit_gaps and (not len(self._gaps) or len(self._waiting["gap"]) < keep):
                self._waiting = {name: column[-keep:] for name, column in self._waiting.items()}
                return  # where most events come at one time, the few gaps there are must do
            self._unit = float(np.median(self._gaps))
        start = 0
        while len(self._waiting["gap"]) - start >= p.train_batch:
            self._step({name: column[start : start + p.train_batch] for name, column in self._waiting.items()})
            start += p.train_batch
        if start:
            self._waiting = {name: column[start:].copy() for name, column in self._waiting.items()}

    def _step(self, samples: dict[str, Array]) -> None:
        """Learn these."""
        assert self._unit is not None
        times, kinds, lengths, markov = (samples[name] for name in _COLUMNS[:4])
        past = Past.of(times, kinds, lengths, markov, self._unit)
        gaps, silent = (torch.from_numpy(samples[name] / self._unit) for name in ("gap", "silent"))
        given = Samples(past, gaps.clamp(SHORTEST, LONGEST), torch.from_numpy(samples["type"]), silent)
        self._experts.learn(given, samples, self._unit, self._boost.mean(len(gaps)))

    def raise_forgetting(self, factor: float, events: int) -> None:
        """The network learns faster; histories and the Markov table stay."""
        self._boost.raised(factor, events)

    # Predictions and state

    def predictor(self) -> PromptTppPredictor:
        if self._predictor is None:
            p, counts, reading = self.params, self._counts, self._experts.reading()
            guessing = self._unit is None and bool(reading.counting) and counts["events"] > 0
            settings = {
                "unit": self._unit,
                "guess": (float(np.median(self._gaps)) if len(self._gaps) else _NO_GAPS) if guessing else None,
                "horizon": p.horizon,
                "forecast_nodes": p.forecast_nodes,
                "window": p.window,
                "types": p.max_types,
                "ahead": p.ahead,
                "unseen": (counts["unseen"] + 0.5) / (counts["events"] + 1.0),
            }
            self._predictor = PromptTppPredictor(
                reading.of_those_that_count() if guessing else reading,
                self._histories.frozen(),
                MarkovTable(self._markov.counts.copy()),
                list(self._classes),
                settings,
            )
        return self._predictor

    @classmethod
    def predictor_from(cls, state: State) -> PromptTppPredictor:
        """The predictor of a `state()`; arrays may be read-only maps of a file."""
        return PromptTppPredictor.of(state)

    def gauges(self) -> Mapping[str, GaugeValue]:
        return {
            "classes": float(len(self._classes)),
            "memory_entries": float(len(self._histories)),
            "memory_evictions": float(self._histories.evicted),
            "memory_bytes": float(self._histories.nbytes),
            "skipped_events": float(self._counts["skipped"]),
            "excess_class_events": float(self._excess.events),
            "late_events": float(self._counts["late"]),
            "silences": float(self._counts["silences"]),
            "left_out_steps": float(self._experts.left_out),
            **self._experts.gauges(),
        }

    def state(self) -> State:
        tensors = self._experts.tensors()
        tensors |= {f"history.{name}": array for name, array in self._histories.tensors().items()}
        tensors |= {f"waiting.{name}": array for name, array in self._waiting.items()}
        tensors |= {"markov": self._markov.counts, "gaps": self._gaps}
        meta = {
            "identity": self._identity(),
            "classes": list(self._classes),
            "unit": self._unit,
            "now": self._now if np.isfinite(self._now) else None,
            "counts": {**self._counts, **self._experts.counts()},
            **self._boost.meta(),
            **self._excess.meta(),
        }
        if self._suspects:
            meta["suspects"] = [[key, *suspect] for key, suspect in self._suspects.items()]
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        tensors, meta = state.tensors, state.meta
        self._take_base(meta.get("identity"))
        if meta.get("identity") != self._identity():
            raise ValueError(f"state of other parameters: expected {self._identity()}, got {meta.get('identity')}")

        def below(prefix: str) -> dict[str, Array]:
            return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}

        counts = meta["counts"]
        self._experts.restore(tensors, counts)
        self._histories.restore(below("history."))
        self._waiting = {name: np.array(tensors[f"waiting.{name}"]) for name in self._nothing()}
        self._markov = MarkovTable(np.array(tensors["markov"]))
        self._gaps = np.array(tensors["gaps"])
        self._classes = {name: code for code, name in enumerate(meta["classes"])}
        self._unit = meta["unit"]
        before = {"events": counts.get("trained", 0), "unseen": len(self._classes)}  # of a version that counted neither
        self._counts = {name: int(counts.get(name, before.get(name, 0))) for name in self._counts}
        self._suspects = {key: (count, first, last) for key, count, first, last in meta.get("suspects", [])}
        self._boost.restore(meta)
        self._excess.restore(meta)
        self._now = -np.inf if meta["now"] is None else meta["now"]
        self._predictor = None

    def _take_base(self, identity: Any) -> None:
        """Become what an earlier version made of the same configuration: a single base was its default."""
        base = identity.get("base") if isinstance(identity, dict) else None
        if base == self.params.alone or base not in get_args(Base) or {*_OF_EXPERTS} & {*self._context.params}:
            return
        params = {**self._context.params, "base": base}
        found = PromptTpp(replace(self._context, params=params))
        if found._identity() != identity:
            return
        log.warning(
            "the state was learned by another base than is the default now, and goes on as it was: set `base`",
            was=base,
            default=self.params.base,
        )
        self.__dict__.update(found.__dict__)

    def _nothing(self) -> dict[str, Array]:
        """Without samples."""
        p = self.params
        return {
            "times": np.zeros((0, p.window)),
            "types": np.zeros((0, p.window), np.int16),
            "lengths": np.zeros(0, np.int64),
            "markov": np.zeros((0, p.max_types), np.float32),
            "gap": np.zeros(0),
            "type": np.zeros(0, np.int64),
            "silent": np.zeros(0),
            **self._experts.noted(np.zeros(0, np.int64)),
        }

    def _identity(self) -> dict[str, Any]:
        p = self.params
        names = ("head", "width", "time_width", "layers", "heads", "components", "prompts", "prompt_rows")
        found = {name: getattr(p, name) for name in (*names, "pool_scope", "window", "keys", "max_types")}
        if p.alone is not None:
            return found | {"base": p.alone}
        return found | {name: getattr(p, name) for name in _OF_EXPERTS}
