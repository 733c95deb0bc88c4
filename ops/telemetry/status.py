"""The status of each model, from the learner processes to the servers: for the live page and `Watch`.

One JSON file per process in the live folder, beside the metrics. It contains what metrics cannot hold (curves, alarms
with their columns), and is never an input of learning.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.models.contract.gauges import flattened
from thalweg.models.contract.learner import Learner
from thalweg.ops.serve.by_key.reports import of_shards
from thalweg.ops.telemetry.live_file import LiveFile
from thalweg.proto.records import Partition
from thalweg.stream.evaluation.levels import recovery_record
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.health.registry import Health
from thalweg.stream.labels.join_observer import NoJoinObserver
from thalweg.stream.learn.observer import LearnerReport, NoObserver
from thalweg.stream.learn.outcome import Outcome

STATUS_FILE = "status-learner.json"
_STATUS_FILES = "status-learner*.json"
ALARMS_SHOWN = 20
_RATE_SECONDS = 10.0  # window of a rate
_LOOK_SECONDS = 0.2  # minimum interval between two checks of a file
_DELAYS_KEPT = 1000
LOWER_IS_BETTER = ("rmse", "mae", "log_loss")


_NOTHING: dict[str, Any] = {"version": 0, "lag_records": None, "state_bytes": 0, "gauges": {}}
"""The status before the first report: nothing is known of the lag, which may be large."""


class ModelStatus(NoObserver, NoJoinObserver):
    """Collects the status of one model from its processor and joiner.

    Args:
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._ticks = ticks
        self._consumed = 0
        self._report: LearnerReport | None = None  # replaced as a whole, so that a file is consistent
        self._shown: tuple[LearnerReport, dict[str, Any]] | None = None
        self._dead_letters: Counter[str] = Counter()
        self._newest_letters: dict[str, float] = {}
        self._rollbacks: Counter[str] = Counter()
        self._snapshot_failures = 0
        self._rates: deque[tuple[float, int]] = deque([(ticks(), 0)])
        self._delays: deque[float] = deque(maxlen=_DELAYS_KEPT)
        self._joined = clock()  # when the last label was joined, or this process began to wait for one

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        self._dead_letters.update(reasons)
        self._newest_letters |= dict.fromkeys(reasons, self._clock())

    def quarantined(self, reasons: Mapping[str, int]) -> None:
        self._dead_letters.update(reasons)

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        self._consumed += outcome.events
        self.dead_lettered(outcome.rejected)

    def reported(self, report: LearnerReport) -> None:
        self._report = report

    def snapshot_failed(self, version: int, error: str) -> None:
        self._snapshot_failures += 1

    def rolled_back(self, version: int, cause: str) -> None:
        self._rollbacks[cause] += 1

    def labels_joined(self, delays: Sequence[float]) -> None:
        self._delays.extend(delays)
        self._joined = self._clock() if delays else self._joined

    def table(self) -> dict[str, Any]:
        """The status as JSON values; values that are not finite are omitted."""
        shown = {
            "time": self._clock(),
            "consumed_events": self._consumed,
            "events_per_second": self._rate(),
            "dead_letters": dict(self._dead_letters),
            "newest_dead_letters": dict(self._newest_letters),
            "snapshot_failures": self._snapshot_failures,
            "rollbacks": dict(self._rollbacks),
            "joined_at": self._joined,
        }
        delays = sorted(self._delays)
        if delays:
            shown["label_delay_seconds"] = delays[len(delays) // 2]
        found: dict[str, Any] = finite(shown) | self._reported()
        return found

    def _reported(self) -> dict[str, Any]:
        """What the last report tells, made once: of many models most are idle."""
        report, shown = self._report, self._shown
        if report is None:
            return _NOTHING
        if shown is None or shown[0] is not report:
            shown = self._shown = report, finite(reported(report))
        return shown[1]

    def _rate(self) -> float:
        """Events per second, over the last ten seconds."""
        now = self._ticks()
        self._rates.append((now, self._consumed))
        while len(self._rates) > 2 and self._rates[1][0] <= now - _RATE_SECONDS:
            self._rates.popleft()
        since, before = self._rates[0]
        return max(0.0, (self._consumed - before) / (now - since)) if now > since else 0.0


class LearnerStatus:
    """Writes the status file of one process; `role`: what the process is called."""

    def __init__(
        self,
        live: Path,
        clock: Callable[[], float] = time.time,
        health: Health | None = None,
        role: str = "learner",
    ) -> None:
        self._clock = clock
        self._models: dict[str, ModelStatus] = {}
        self._adding = threading.Lock()
        self._file = LiveFile(live / f"status-{role}.json", self.render, health)

    def model(self, name: str) -> ModelStatus:
        """The observer of a model; a restarted learner has the same one."""
        with self._adding:
            if name not in self._models:  # replaced as a whole: the file may be rendered at the same time
                self._models = {**self._models, name: ModelStatus(self._clock)}
            return self._models[name]

    def forget(self, name: str) -> None:
        """Report nothing of a model any more, which is another process's now."""
        with self._adding:
            self._models = {other: model for other, model in self._models.items() if other != name}

    def start(self) -> None:
        """Start writing the file about once a second."""
        self._file.start()

    def close(self) -> None:
        """Write the file a last time and stop."""
        self._file.close()

    def render(self) -> bytes:
        """The content of the file."""
        return json.dumps({name: model.table() for name, model in self._models.items()}, allow_nan=False).encode()


class Statuses:
    """Reads the learner processes' last status in a server. Thread-safe.

    Of a model that several files tell of, the newest counts: it has gone to another process.
    """

    def __init__(self, live: Path) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._looked = -math.inf
        self._changed: dict[str, int] = {}
        self._told: dict[str, dict[str, dict[str, Any]]] = {}
        self._tables: dict[str, dict[str, Any]] = {}

    def of(self, model: str) -> dict[str, Any] | None:
        """The status of a model, or of its shards; None if there is none yet. Its `time` says how old it is."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked > _LOOK_SECONDS:
                self._looked = now
                self._look()
            return self._tables.get(model) or of_shards(model, self._tables)

    def _look(self) -> None:
        if not [path for path in sorted(self._live.glob(_STATUS_FILES)) if self._read(path)]:
            return
        newest: dict[str, dict[str, Any]] = {}
        for told in self._told.values():
            for name, table in told.items():
                if name not in newest or _time(table) > _time(newest[name]):
                    newest[name] = table
        self._tables = newest

    def _read(self, path: Path) -> bool:
        """Whether there is anything new."""
        try:
            changed = path.stat().st_mtime_ns
            if changed == self._changed.get(path.name):
                return False
            tables = json.loads(path.read_bytes())
        except (OSError, ValueError):  # the file is missing: the last status stays
            return False
        self._changed[path.name] = changed
        if not isinstance(tables, dict):
            return False
        self._told[path.name] = {name: table for name, table in tables.items() if isinstance(table, dict)}
        return True


def _time(table: Mapping[str, Any]) -> float:
    at = table.get("time")
    return at if isinstance(at, float | int) else -math.inf


def reported(report: LearnerReport) -> dict[str, Any]:
    """A report as JSON values, not all of them finite: see `finite`."""
    found = {
        "version": report.version,
        "learned_events": report.learned,
        "lag_records": sum(report.lag.values()),
        "state_bytes": report.state_bytes,
        "micro_batch_events": report.batch_events,
        "gauges": flattened(report.gauges),
    }
    return found if report.evaluation is None else found | _evaluated(report.evaluation)


def _evaluated(report: EvaluationReport) -> dict[str, Any]:
    scores = [{"detector": d, "signal": s, "score": score} for (d, s), score in report.drift_scores.items()]
    return {
        "events": report.events,
        "task": report.task.name,
        "quality": report.task.quality,
        "metrics": report.metrics,
        "recent": report.recent,
        "frozen": report.baseline,
        "frozen_recent": report.baseline_recent,
        "bounds": report.recent_bounds,
        "worst_case_accuracy": report.worst_case_accuracy,
        "continual": report.continual,
        "curve": {
            "metric": report.curve_metric,
            "higher_is_better": not report.task.lower_is_better,
            "points": [list(point) for point in report.curve],
        },
        "unlabelled_events": report.unlabelled_events,
        "recent_events": report.recent_events,
        "unanswered_events": report.unanswered,
        "left_out_events": report.left_out,
        "controls": report.controls,
        "controls_recent": report.controls_recent,
        "quality_floor": report.quality_floor,
        "floor_breached": report.floor_breached,
        "recovery": recovery_record(report.recovery),
        "replaced": {"at": report.replaced_at, "how": report.replaced, "before": report.before_replaced}
        if report.replaced
        else None,
        "drift": {"scores": scores, "alarms": _alarms(report)},
    }


def _alarms(report: EvaluationReport) -> list[dict[str, Any]]:
    """The latest alarms, each with the main metric before it, and after it as far as that is known."""
    found: list[dict[str, Any]] = []
    for alarm in report.alarms[-ALARMS_SHOWN:]:
        before = report.levels.get(alarm.number)
        if found:
            found[-1]["quality_after"] = before  # just before the next one
        found.append(alarm.record() | {"quality_before": before, "quality_after": None})
    if found and report.recovery is not None:
        found[-1]["quality_after"] = report.recovery.now
    return found


def finite(value: Any) -> Any:
    """Remove numbers that JSON does not support: such entries of mappings are omitted, such items of lists become
    null.
    """
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items() if not _no_number(one)}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if _no_number(value) else value


def _no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
