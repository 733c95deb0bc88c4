"""Two-sample tests of many columns at once: recent rows against reference rows.

The reference is the first rows; every 64 rows, the last 192 and, less often, the last 1,024 are compared with it.
A change that is news starts a new reference; columns that go on moving are no news until they have been calm
(`thalweg.stream.drift.calm`), and the reference follows them at a pace. What the time of day, of the week and of the
year explains is taken out first (`thalweg.stream.drift.seasons`).
Each numeric column is cut into 32 bins at the reference's quantiles, so a test reads counts, whatever the number of
rows. The level is divided over columns and tests (Bonferroni), so false alarms do not grow with the columns;
the reported columns are those of Benjamini and Hochberg's procedure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.calm import Calm
from thalweg.stream.drift.reference import BINS, FOURIER, SHORT, STEP, TESTS, Reference, hashed
from thalweg.stream.drift.seasons.columns import SeasonalColumns
from thalweg.stream.drift.seasons.rows import TimedRows
from thalweg.stream.drift.seasons.seasons import EVERY, Prepared
from thalweg.stream.drift.windows import Moved, Windows, told

Floats = NDArray[np.float64]

_LONG = 16  # steps


class ColumnsWatch:
    """Detects changes of the distribution of columns of numbers, each alone and all together.

    Args:
        names: Of the columns, F.
        categorical: Which of them are codes without an order, (F,).
        tests: From `TESTS`: `ks` (Kolmogorov-Smirnov, numeric columns), `psi` (population stability index), `mmd`
            (maximum mean discrepancy of all numeric columns together, by 64 random Fourier features).
        reference_rows: Number of rows of the reference.
        false_alarms: Expected number in 10,000 independent rows without a change.
        calm_rows: After a change that was news, columns must have been calm for so long before they are news again.
        follow_rows: Of columns that keep moving, the reference is replaced once it is this old.
        seed: Of the random features.
    """

    def __init__(
        self,
        names: Sequence[str],
        categorical: NDArray[np.bool_],
        tests: Sequence[str] = TESTS,
        *,
        reference_rows: int = 1000,
        false_alarms: float = 0.05,
        calm_rows: int = 2000,
        follow_rows: int = 5000,
        seed: int = 0,
    ) -> None:
        self._names = tuple(names)
        self._categorical = np.asarray(categorical, dtype=np.bool_)
        self._tests = tuple(tests)
        self._reference_rows = reference_rows
        self._seed = seed
        tried = 10_000 / STEP * (1 + 1 / (_LONG // 4)) * max(1, len(self._tests))
        self._level = false_alarms / tried
        self._rows = 0
        self._reference = self._waiting = TimedRows.none(len(names))
        self._base: Reference | None = None
        self._calm = Calm(len(names), calm_rows)
        self._follow_rows = follow_rows
        self._since = 0  # rows before the reference was complete
        self._next: TimedRows | None = None  # of the next reference, while it is gathered
        self._seasons = SeasonalColumns(self._categorical, BINS)
        self._adopted = -reference_rows  # rows before the seasons that are taken out were learned
        self._counts: NDArray[np.float32] = np.zeros((0, len(names), BINS), dtype=np.float32)
        self._means: Floats = np.zeros((0, FOURIER))
        self._latest: dict[str, float] | tuple[Windows, int] = {}  # scores, or the window
        self._distances: Floats = np.zeros(len(names))
        self._trail: list[tuple[int, Floats]] = []

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._names)

    @property
    def seasonal(self) -> bool:
        """Whether seasons are taken out of the columns."""
        return self._seasons.adopted

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self._rows

    def feed(self, rows: NDArray[np.float32], worse: Sequence[int] = (), times: Floats | None = None) -> list[Moved]:
        """Feed rows (N, F), NaN where there is no value; changes found, in order. Those that are news start a new
        reference.

        Args:
            rows: (N, F).
            worse: Numbers of rows, in order, at which the predictions were found worse.
            times: Of the rows (N,), Unix seconds; None where they are not known.
        """
        found: list[Moved] = []
        disturbed = 0
        self._trail = [(0, self._distances)]
        fed = TimedRows.of(times, rows)
        while fed.count:
            if self._base is None:
                taken, fed = fed.split(self._reference_rows - self._reference.count)
                self._reference = self._reference.plus(taken)
                self._rows += taken.count
                if self._reference.count == self._reference_rows:
                    self._begin_reference()
                continue
            fed, waiting = self._waiting.plus(fed), self._waiting.count
            if fed.count < STEP:
                self._rows += fed.count - waiting
                self._waiting = fed
                break
            self._rows -= waiting  # a step counts as a whole
            self._waiting = fed.split(0)[0]
            steps = self._pass(fed, worse[disturbed:], found)
            disturbed = bisect_right(worse, self._rows)
            fed = fed.split(steps * STEP)[1]
        if disturbed < len(worse):
            self._calm.disturbed()
        return found

    def scores(self) -> dict[str, float]:
        """Latest score by test, relative to the alarm threshold: above 1 is an alarm."""
        if isinstance(self._latest, dict):
            return dict(self._latest)
        by_column, joint = self._latest[0].scores(self._latest[1])
        scores = {name: float(column.max(initial=0.0)) for name, column in by_column.items()}
        return scores | ({"mmd": joint} if "mmd" in self._tests else {})

    @property
    def trail(self) -> Sequence[tuple[int, Floats]]:
        """Of the tests in the last call of `feed`, the number of rows and the distances of the columns (F,); first
        those from before it, with 0 for the number.
        """
        return self._trail

    def farthest(self, distances: Floats) -> tuple[tuple[str, float], ...]:
        """The columns farthest from the reference, with their distances, of these (F,); at a level of 0.01."""
        found = told(distances, self._rows_of(SHORT))
        return tuple((self._names[column], distance) for column, distance in found)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        whole = self._counts.astype(np.uint16)
        held = {"reference": self._reference, "waiting": self._waiting}
        held["next"] = self._reference.split(0)[0] if self._next is None else self._next
        found: dict[str, NDArray[Any]] = {
            **{name: rows.values for name, rows in held.items()},
            "counts": whole if np.array_equal(whole, self._counts) else self._counts,
            "means": self._means,
            "rows": np.array([self._rows]),
            "distances": self._distances,
            "since": np.array([self._since]),
            "following": np.array([self._next is not None]),
            **self._calm.tensors(),
        }
        seasons = self._seasons.tensors()
        if seasons or any(rows.times.any() for rows in held.values()):
            found |= {f"{name}_times": rows.times for name, rows in held.items()}
            found |= {f"seasons.{name}": tensor for name, tensor in seasons.items()}
            found["adopted"] = np.array([self._adopted])
        return found

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the watch whose `tensors()` these are; of another number of columns, stay as it is."""
        if not tensors["reference"].shape[1] == tensors["counts"].shape[1] == self.width:
            return
        held = {name: TimedRows.of(tensors.get(f"{name}_times"), tensors[name]) for name in ("reference", "waiting")}
        self._reference, self._waiting = held["reference"], held["waiting"]
        self._counts, self._means = tensors["counts"].astype(np.float32), tensors["means"].copy()
        self._rows, self._distances = int(tensors["rows"][0]), tensors["distances"].copy()
        if "calm" in tensors:  # an older state has none of these
            self._calm.restore(tensors)
            self._since = int(tensors["since"][0])
            following = TimedRows.of(tensors.get("next_times"), tensors["next"])
            self._next = following if tensors["following"][0] else None
        if "adopted" in tensors:
            start = "seasons."
            self._seasons.restore({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})
            self._adopted = int(tensors["adopted"][0])
            self._calm.require(self._seasons.rows())
        self._base = self._based() if self._reference.count == self._reference_rows else None

    def begin_after(self, rows: int) -> None:
        """Begin with an empty reference, after this many rows that are not read."""
        self._begin_anew()
        self._rows, self._distances = rows, np.zeros(self.width)

    def _begin_reference(self) -> None:
        """The reference is complete."""
        reference = self._reference
        self._seasons.center(reference.values, self._codes(reference.values))
        ended, rest = False, reference
        while rest.count:
            step, rest = rest.split(STEP)
            ended |= self._learn_season(step)
        self._base, self._since = self._based(), self._rows
        if ended:
            self._adopt()

    def _codes(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        codes = self._seasons.codes
        return hashed(rows[:, codes]) if len(codes) else np.zeros((len(rows), 0), dtype=np.int64)

    def _learn_season(self, step: TimedRows) -> bool:
        """Whether a period has ended with it."""
        return bool(step.times.any()) and self._seasons.learn(step.times, step.values, self._codes(step.values))

    def _adopt(self) -> None:
        """Take out the seasons as they are known now; compare with the same reference without them."""
        base = self._base
        if base is None or self._rows - self._adopted < self._reference_rows:
            return
        fresh = self._seasons.adopt(base.deviations)
        if fresh is None:
            return
        self._adopted = self._rows
        self._calm.explained(fresh, self._seasons.rows())
        self._counts, self._means, self._base = self._counts[:0], self._means[:0], self._based()

    def _based(self) -> Reference:
        random = np.random.default_rng(self._seed)
        rest = self._seasons.rest(self._reference.times, self._reference.values)
        apart = self._categorical | self._calm.apart
        return Reference(rest.rows, apart, self._categorical, random, rest.shares, self._level, self._tests)

    def _follow(self, step: TimedRows, moved: bool) -> None:
        """Once the reference is old and does not fit, gather the next; compare with the old one until that is full."""
        if self._next is None:
            if moved and self._rows - self._since >= self._follow_rows:
                self._next = step.split(0)[0]
            return
        self._next = self._next.plus(step)
        if self._next.count >= self._reference_rows:
            self._calm.begin_reference()
            self._reference, self._next = self._next.newest(self._reference_rows), None
            self._since = self._rows
            self._counts, self._means, self._base = self._counts[:0], self._means[:0], self._based()

    def _begin_anew(self) -> None:
        self._calm.begin_reference()
        self._base = self._next = None
        self._reference = self._waiting = self._reference.split(0)[0]
        self._counts, self._means = self._counts[:0], self._means[:0]

    def _rows_of(self, steps: int) -> float:
        """The effective size of both samples."""
        window, reference = steps * STEP, self._reference_rows
        return window * reference / (window + reference)

    def _pass(self, fed: TimedRows, worse: Sequence[int], found: list[Moved]) -> int:
        """Process several whole steps, up to a new reference; changes are added to `found`. Returns their number."""
        base, nothing = self._base, TimedRows.none(self.width)
        assert base is not None
        count = min(_LONG, fed.count // STEP)
        timed = bool(fed.times[: count * STEP].any())
        prepared = self._prepared(fed, count) if timed and count > 1 else None
        bins, counts = self._binned(base, fed, count)
        earlier = len(self._counts)
        counts = np.concatenate([self._counts, counts])
        means: Floats | None = None
        if "mmd" in self._tests:
            means = np.concatenate([self._means, base.embedding_by_step(bins, count)])
        windows: Windows | None = None
        if len(counts) >= SHORT:
            windows = Windows(base, *base.windows(counts, means), self._rows_of(SHORT))
        due = [number for number in range(max(0, _LONG - earlier - 1), count) if self._long_due(number + 1)]
        longer = self._longer(base, counts, means, [earlier + number + 1 for number in due]) if due else None
        for number in range(count):
            end = earlier + number + 1
            self._rows += STEP
            while len(worse) and worse[0] <= self._rows:
                self._calm.disturbed()
                worse = worse[1:]
            self._counts = counts[max(0, end - _LONG) : end]
            self._means = self._means if means is None else means[max(0, end - _LONG) : end]
            moved: Moved | None = None
            if windows is not None and end >= SHORT:
                place = end - SHORT
                self._distances, self._latest = windows.distances[place], (windows, place)
                moved = self._judge(windows, place, SHORT)
            if longer is not None and number in due and (moved is None or not moved.news):
                moved = self._judge(longer, due.index(number), _LONG) or moved
            self._trail.append((self._rows, self._distances))
            if moved is not None:
                found.append(moved)
            step = nothing
            if (timed and prepared is None) or moved is not None or self._next is not None:
                step = fed.part(number * STEP, STEP)
            if moved is not None and moved.news:
                self._seasons.level_changed()
                self._learn_season(step)
                self._begin_anew()
                return number + 1
            self._follow(step, moved is not None)
            if timed and (
                self._learn_season(step) if prepared is None else self._seasons.learn_prepared(prepared, number)
            ):
                self._adopt()
            if self._base is not base:
                return number + 1
        return count

    def _prepared(self, fed: TimedRows, count: int) -> Prepared | None:
        some = fed.values[: count * STEP : EVERY]
        return self._seasons.prepare(fed.times[: count * STEP].reshape(count, STEP), some, self._codes(some))

    def _long_due(self, steps: int) -> bool:
        """Whether a long window is compared after so many more steps."""
        return (self._rows + steps * STEP) % (_LONG // 4 * STEP) < STEP

    def _longer(
        self, base: Reference, counts: NDArray[np.float32], means: Floats | None, ends: Sequence[int]
    ) -> Windows:
        """The long windows of steps (S, F, 32), (S, 64) that end before these."""
        found = [base.window(counts[:end], None if means is None else means[:end], _LONG) for end in ends]
        shares, embedded = np.array([share for share, _ in found]), np.array([mean for _, mean in found])
        return Windows(base, shares, embedded, self._rows_of(_LONG))

    def _binned(self, base: Reference, fed: TimedRows, count: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The bins of the rows of the first steps, less what seasons explain, and their counts (steps, F, 32)."""
        if not self._seasons.adopted:
            bins = base.binned(fed.values[: count * STEP])
            return bins, base.counts_by_step(bins, count)
        steps = [fed.part(number * STEP, STEP) for number in range(count)]
        rests = [self._seasons.rest(step.times, step.values) for step in steps]
        bins = base.binned(np.concatenate([rest.rows for rest in rests]))
        counts = base.counts_by_step(bins, count)
        if base.explained is not None:
            for number, rest in enumerate(rests):
                if rest.shares is not None:
                    counts[number, self._seasons.codes] -= STEP * (rest.shares - base.explained)
        return bins, counts

    def _judge(self, windows: Windows, place: int, steps: int) -> Moved | None:
        """Whether a window of so many steps moved, and whether that is news."""
        calm, tested = self._calm, STEP if steps == SHORT else 0
        moving = windows.moving(place)
        if moving is None:
            calm.tested(None, tested)
            return None
        if calm.news.any():
            by_column, joint = windows.scores(place)
            scores = {name: float(column[calm.news[:-1]].max(initial=0.0)) for name, column in by_column.items()}
            if "mmd" in self._tests:
                scores["mmd"] = joint if calm.news[-1] else 0.0
        else:  # the usual case where columns keep moving
            scores = dict.fromkeys((name for name in TESTS if name in self._tests), 0.0)
        if steps == SHORT:
            self._latest = scores
        test = max(scores, key=lambda name: scores[name], default=None)
        drifted = tuple((self._names[column], distance) for column, distance in windows.told(place))
        distances = windows.distances[place]
        if test is None or scores[test] <= 1.0:
            calm.tested(moving, tested)
            farthest = float(distances.max(initial=0.0))
            return Moved(windows.strongest(place), 1.0, self._rows, self._rows, farthest, drifted, news=False)
        self._latest, self._distances = scores, distances
        since = self._rows - self._lasting(windows.base, steps)
        known = dict(drifted)
        calm.told(moving | np.append([name in known for name in self._names], False))
        return Moved(test, scores[test], self._rows, since, float(distances.max()), drifted)

    def _lasting(self, base: Reference, steps: int) -> int:
        """For how many rows, up to now, each step was closer to the recent rows than to the reference."""
        column = int(np.argmax(self._distances))
        by_step = self._counts[:, column] / STEP
        latest = by_step[-steps:].mean(axis=0)
        toward = np.abs(by_step - base.share[column]).sum(axis=1) - np.abs(by_step - latest).sum(axis=1)
        away = np.flatnonzero(toward < 0)
        last = int(away[-1]) + 1 if len(away) else 0
        return STEP * max(1, len(by_step) - last)
