"""Drift detection: several detectors on several signals, one alarm for each change that is news.

The signals are the model's loss, the loss of its frozen baseline and its inputs; without labels, its confidence and
predictions.
Detections while an alarm is active belong to it; it ends when nothing was detected for a while. Movements that are no
news are told in a digest. The result depends on the events and their order alone, not on a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.detectors import Fired, Scale, SignalWatch
from thalweg.stream.drift.digest import Digest, Digests
from thalweg.stream.drift.harm import Harm
from thalweg.stream.drift.inputs import ColumnsWatch
from thalweg.stream.drift.methods.river import preload
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.sampled import SampledColumns, columns_watch
from thalweg.stream.drift.seasons.rows import TimedRows
from thalweg.stream.drift.signs import SIGNALS, Observed, Sign, is_news, kind_of, name_of, outdated, watching
from thalweg.stream.drift.unlabelled.rested import (
    LABELS_MISSING,
    Rested,
    parts_without_labels,
    resting_columns,
    resting_signal,
)
from thalweg.stream.drift.windows import Moved

Floats = NDArray[np.float64]

ALARMS_KEPT = 100
_PATIENCE, _BASELINE_PATIENCE = 25.0, 40.0  # an outdated baseline is wrong half of the time: its loss varies more
_LEAST_OF_BASELINE = 0.15
_PEAK_OVER = 64  # the peak is that of the mean loss over this many values
_CONFIDENCES = 3000  # held from before labels are missing


class DriftWatch:
    """Detects drift of a model.

    Args:
        params: The detectors' parameters.
        names: Names of the columns of inputs, then of predictions.
        categorical: Which of them hold unordered codes, (F,).
        predictions: How many of them, the last, are predictions.
    """

    def __init__(
        self, params: DriftParams, names: Sequence[str], categorical: NDArray[np.bool_], predictions: int = 0
    ) -> None:
        if params.detectors:
            preload(params.detectors)
        self._params = params
        self._events = 0
        self._unlabelled = 0
        self._loss_bounded: bool | None = None
        self._signals: dict[str, SignalWatch] = {}
        self._inputs: SampledColumns | None = None
        self._predictions: Rested[ColumnsWatch, Moved] | None = None
        self._width = inputs = len(names) - predictions
        if inputs and params.inputs:
            self._inputs = SampledColumns(columns_watch(params, names[:inputs], categorical[:inputs]))
        if predictions and params.inputs:
            of_predictions = partial(columns_watch, params, names[inputs:], categorical[inputs:])
            self._predictions = resting_columns(predictions, params.reference_events, of_predictions)
        self._confidence = resting_signal(_CONFIDENCES, partial(self._new_signal, "confidence"))
        self._alarms: list[Alarm] = []
        self._last_sign = 0
        self._until = (0, 0.0)  # the event at which the active alarm would end, and its time
        self._base = float("nan")
        self._scale: Scale | None = None
        self._tracked = 0
        self._losses: Floats = np.zeros(0)  # the latest losses of the active alarm
        self._unreported: list[Alarm] = []
        self._digests = Digests(params.digest_events, params.settle_events)
        self._harm = Harm()

    @property
    def events(self) -> int:
        """Events so far."""
        return self._events

    @property
    def unlabelled(self) -> int:
        """Events since the last one whose prediction was graded; all events if none was."""
        return self._unlabelled

    @property
    def alarms(self) -> list[Alarm]:
        """The latest alarms, oldest first; the last may be active."""
        return list(self._alarms)

    @property
    def open(self) -> Alarm | None:
        """The active alarm, if any."""
        return self._alarms[-1] if self._alarms and self._alarms[-1].end is None else None

    def alarms_after(self, number: int) -> list[Alarm]:
        """The alarms with higher numbers than this one, oldest first."""
        if not self._alarms or self._alarms[-1].number <= number:
            return []
        return [alarm for alarm in self._alarms if alarm.number > number]

    def news(self) -> list[Alarm]:
        """Alarms raised or ended since the last call; an alarm that has ended meanwhile appears twice."""
        news, self._unreported = self._unreported, []
        return news

    def digest_news(self) -> list[Digest]:
        """Digests that have ended since the last call."""
        return self._digests.news()

    @property
    def digests(self) -> list[Digest]:
        """The latest digests, oldest first; the last may not have ended."""
        return self._digests.latest

    def note_done(self, number: int, done: str) -> None:
        """Record what was done about an alarm, if it is still stored."""
        self._alarms = [replace(one, done=done) if one.number == number else one for one in self._alarms]

    def scores(self) -> dict[tuple[str, str], float]:
        """By detector and signal, the ratio of its statistic to its threshold: an alarm at 1 and above."""
        found: dict[tuple[str, str], float] = {}
        watched: list[tuple[str, SignalWatch | ColumnsWatch | SampledColumns]] = [*self._watched_signals().items()]
        for signal, watch in [*watched, *self._watched_columns().items()]:
            found |= {(detector, signal): score for detector, score in watch.scores().items()}
        return found

    def watchers(self) -> list[tuple[str, str]]:
        """Every pair of detector and signal that may raise an alarm."""
        found = [(detector, signal) for signal in SIGNALS[:3] for detector in self._params.detectors]
        columns = {"inputs": self._inputs, "predictions": self._predictions}
        return found + [
            (test, name) for name, one in columns.items() if one is not None for test in self._params.inputs
        ]

    def observe(self, seen: Observed) -> None:
        """Process a micro-batch. The alarms do not depend on how events are cut into micro-batches."""
        count = len(seen.times)
        if not count:
            return
        at = np.arange(self._events + 1, self._events + count + 1)
        graded = np.isfinite(seen.loss)
        parts = parts_without_labels(graded, self._unlabelled)
        signs = self._feed_signals(seen, at, graded, parts)
        worse = sorted(event for event, _, found in signs if is_news(found))
        signs += self._feed_columns(seen, worse, parts)
        last = np.flatnonzero(graded)
        self._unlabelled = count - 1 - int(last[-1]) if len(last) else self._unlabelled + count
        signs.sort(key=lambda sign: (sign[0], SIGNALS.index(sign[1])))
        self._harm.extend(seen.loss[graded], at[graded])
        for event, signal, found in signs:
            self._close_until(event, seen, at)
            time = float(seen.times[event - at[0]])
            if is_news(found):
                self._raise_or_extend(event, signal, found, time)
            else:
                self._digests.until(event, at, seen.times)
                self._digests.add(
                    event, time, signal, name_of(found), found.columns if isinstance(found, Moved) else ()
                )
        self._events += count
        self._close_until(self._events, seen, at)
        self._digests.until(self._events, at, seen.times)
        self._harm.trim()

    def state(self) -> State:
        """The state that later alarms depend on."""
        tensors: dict[str, NDArray[Any]] = {}
        for signal, watch in self._watched_signals().items():
            tensors |= {f"signal.{signal}.{name}": tensor for name, tensor in watch.tensors().items()}
        for signal, columns in self._watched_columns().items():
            tensors |= {f"columns.{signal}.{name}": tensor for name, tensor in columns.tensors().items()}
        for name, rested in self._rested().items():
            tensors[f"held.{name}"] = rested.held.values
            if rested.held.times.any():
                tensors[f"held.{name}_times"] = rested.held.times
        tensors["base"] = np.array([self._base])
        tensors["losses"] = self._losses
        tensors |= {f"harm.{name}": tensor for name, tensor in self._harm.tensors().items()}
        meta = {
            "events": self._events,
            "unlabelled": self._unlabelled,
            "bounded": self._loss_bounded,
            "last_sign": self._last_sign,
            "until": list(self._until),
            "scale": None if self._scale is None else [self._scale.center, self._scale.spread],
            "tracked": self._tracked,
            "alarms": [alarm.record() for alarm in self._alarms],
            "params": watching(self._params),
            "digests": self._digests.meta(),
        }
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        """Restore from `state()`; if the parameters differ, only alarms and counts are restored."""
        meta = state.meta
        self._signals, self._unreported = {}, []
        self._events, self._unlabelled = meta["events"], meta["unlabelled"]
        self._loss_bounded, self._last_sign = meta["bounded"], meta["last_sign"]
        self._alarms = [Alarm.of(record) for record in meta["alarms"]]
        self._until = (int(meta["until"][0]), float(meta["until"][1]))
        self._base = float(state.tensors["base"][0])
        self._scale = None if meta["scale"] is None else Scale(*meta["scale"])
        self._tracked, self._losses = meta["tracked"], state.tensors["losses"].copy()
        if "digests" in meta:  # an older state has none of these
            self._digests.restore(meta["digests"])
            self._harm.restore(_under("harm.", state.tensors))
        if self._inputs is not None:
            self._inputs.begin_after(self._events)
        for name, rested in self._rested().items():
            rested.watch, values = None, state.tensors.get(f"held.{name}", rested.held.values[:0])
            if values.shape[1] == rested.held.values.shape[1]:
                rested.held = TimedRows.of(state.tensors.get(f"held.{name}_times"), values.astype(np.float32))
        if meta["params"] != watching(self._params):
            return
        for signal in SIGNALS[:2]:
            if tensors := _under(f"signal.{signal}.", state.tensors):
                self._signal(signal).restore(tensors)
        if self._inputs is not None and (tensors := _under("columns.inputs.", state.tensors)):
            self._inputs.restore(tensors)
        if self._unlabelled < LABELS_MISSING:  # an older state has these with labels, too
            return
        if tensors := _under("signal.confidence.", state.tensors):
            self._confidence.awake(self._events).restore(tensors)
        if self._predictions is not None and (tensors := _under("columns.predictions.", state.tensors)):
            self._predictions.awake(self._events).restore(tensors)

    def _rested(self) -> dict[str, Rested[SignalWatch, Fired] | Rested[ColumnsWatch, Moved]]:
        found: dict[str, Rested[SignalWatch, Fired] | Rested[ColumnsWatch, Moved]] = {"confidence": self._confidence}
        return found if self._predictions is None else {**found, "predictions": self._predictions}

    def _watched_signals(self) -> dict[str, SignalWatch]:
        watch = self._confidence.watch
        return self._signals if watch is None else {**self._signals, "confidence": watch}

    def _watched_columns(self) -> dict[str, ColumnsWatch | SampledColumns]:
        predictions = None if self._predictions is None else self._predictions.watch
        found: dict[str, ColumnsWatch | SampledColumns | None] = {"inputs": self._inputs, "predictions": predictions}
        return {signal: columns for signal, columns in found.items() if columns is not None}

    def _signal(self, name: str) -> SignalWatch:
        if name not in self._signals:
            self._signals[name] = self._new_signal(name)
        return self._signals[name]

    def _new_signal(self, name: str) -> SignalWatch:
        return SignalWatch(
            self._params.detectors,
            bounded=name != "confidence" and bool(self._loss_bounded),
            worse=-1 if name == "confidence" else 1,
            patience=_BASELINE_PATIENCE if name == "twin" else _PATIENCE,
        )

    def _feed_signals(
        self, seen: Observed, at: NDArray[np.int64], graded: NDArray[np.bool_], parts: Sequence[tuple[slice, bool]]
    ) -> list[tuple[int, str, Sign]]:
        if not self._params.detectors:
            return []
        found: list[tuple[int, str, Sign]] = []
        if graded.any() and self._loss_bounded is None:
            self._loss_bounded = seen.bounded
        for signal, values in (("loss", seen.loss), ("twin", seen.baseline)):
            if not np.isfinite(values).any():
                continue
            fired = self._signal(signal).feed(values, at, seen.loss if signal == "twin" else None)
            if signal == "twin":  # a comparison, not what is served: small changes are not significant
                fired = [one for one in fired if one.after - one.before >= _LEAST_OF_BASELINE]
                fired = [replace(one, usual=outdated(one)) for one in fired]
            found += [(one.at, signal, one) for one in fired]
        if self._confidence.held.count or np.isfinite(seen.confidence).any():
            confidence = TimedRows.of(None, seen.confidence.astype(np.float32)[:, None])
            found += [(one.at, "confidence", one) for one in self._confidence.feed(confidence, int(at[0]), parts, ())]
        return found

    def _feed_columns(
        self, seen: Observed, worse: Sequence[int], parts: Sequence[tuple[slice, bool]]
    ) -> list[tuple[int, str, Sign]]:
        found: list[tuple[int, str, Sign]] = []
        if self._inputs is not None:
            moves = self._inputs.feed(seen.columns[:, : self._width], self._events + 1, worse, seen.times)
            found += [(moved.rows, "inputs", moved) for moved in moves]
        if self._predictions is not None:
            rows = TimedRows.of(seen.times, seen.columns[:, self._width :])
            moves = self._predictions.feed(rows, self._events + 1, parts, worse)
            found += [(moved.rows, "predictions", moved) for moved in moves]
        return found

    def _raise_or_extend(self, event: int, signal: str, found: Sign, time: float) -> None:
        """Raise an alarm, or add the detection to the active one."""
        if self.open is not None and self._begins_another(self.open, found, signal):
            self._end(self.open)
        self._last_sign, self._until = event, (event, time)
        if isinstance(found, Moved):
            severity = self._harm.severity(found.distance, found.since, event, bool(self._loss_bounded))
        else:
            severity = found.after - found.before
        features = found.columns if isinstance(found, Moved) and signal == "inputs" else ()
        detector = name_of(found)
        detection = (signal, detector, event)
        if self.open is not None:
            alarm = self.open
            signals = (*alarm.signals, detection)[:50]
            moved = dict(alarm.features)
            moved.update({name: max(distance, moved.get(name, 0.0)) for name, distance in features})
            ranked = tuple(sorted(moved.items(), key=lambda one: -one[1]))[:10]
            worse = severity > alarm.severity
            self._alarms[-1] = replace(
                alarm,
                signals=signals,
                features=ranked,
                kind=kind_of(signals),
                severity=max(severity, alarm.severity),
                peak=event if worse else alarm.peak,
            )
            return
        if isinstance(found, Fired):
            self._base = found.before if signal == "loss" else float("nan")
            self._scale = found.scale
            self._losses, self._tracked = self._losses[:0], event
            features = () if self._inputs is None else self._inputs.most_moved(event)
        else:
            self._base = float("nan")
        number = self._alarms[-1].number + 1 if self._alarms else 1
        alarm = Alarm(
            number=number,
            since=min(found.since, event),
            start=event,
            peak=event,
            start_time=time,
            detector=detector,
            signal=signal,
            severity=float(severity),
            kind=kind_of((detection,)),
            signals=(detection,),
            features=features,
            action=self._params.action,
        )
        self._alarms = [*self._alarms, alarm][-ALARMS_KEPT:]
        self._unreported.append(alarm)

    def _begins_another(self, alarm: Alarm, found: Sign, signal: str) -> bool:
        """Whether the loss rose long after the inputs had moved without harm, which is another change."""
        return (
            alarm.kind == "inputs"
            and signal == "loss"
            and found.since > self._last_sign + self._params.settle_events // 2
        )

    def _end(self, alarm: Alarm) -> None:
        end, time = self._until
        self._alarms[-1] = replace(alarm, end=end, end_time=time)
        self._unreported.append(self._alarms[-1])

    def _close_until(self, event: int, seen: Observed, at: NDArray[np.int64]) -> None:
        """Update the active alarm up to an event, and end it if nothing was detected for long enough."""
        due = self._last_sign + self._params.settle_events
        self._track_peak(min(event, due), seen, at)
        alarm = self.open
        if alarm is None or event < due:
            return
        self._end(alarm)

    def _track_peak(self, upto: int, seen: Observed, at: NDArray[np.int64]) -> None:
        """Track the largest excess of the mean loss of 64 events since the start over the loss before it."""
        alarm = self.open
        if alarm is None or not np.isfinite(self._base):
            return
        rows = np.flatnonzero((at > self._tracked) & (at <= upto) & np.isfinite(seen.loss))
        self._tracked = max(self._tracked, upto)
        fresh = seen.loss[rows] if self._scale is None else self._scale.of(seen.loss[rows])
        losses = np.concatenate([self._losses, fresh])
        self._losses = losses[-(_PEAK_OVER - 1) :]
        if len(losses) < _PEAK_OVER:
            return
        means = np.lib.stride_tricks.sliding_window_view(losses, _PEAK_OVER).mean(axis=1)
        place = int(means.argmax())
        worst = rows[len(rows) - len(means) + place]
        if means[place] - self._base > alarm.severity:
            event = int(at[worst])
            self._until = max(self._until, (event, float(seen.times[worst])))
            self._alarms[-1] = replace(alarm, severity=float(means[place] - self._base), peak=event)


def _under(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
