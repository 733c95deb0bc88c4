"""Compares the models of an alias, and promotes a challenger that is better.

What it decides follows from the losses of the models alone, and those from their journals: it reads them at its own
pace, goes on after a restart where its file says, and comes to the same decision at the same event. The promotion is
recorded first, with the place in the log from where the next comparison goes on: whoever dies then finds it, and
promotes nobody twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from thalweg.stream.comparison.block_losses import BlockLosses
from thalweg.stream.comparison.bounds import Bounds
from thalweg.stream.comparison.comparison import Comparison, Decision, step, undone
from thalweg.stream.comparison.comparison_file import ComparisonReport, read_comparison, write_comparison
from thalweg.stream.comparison.loss_reader import LossReader
from thalweg.stream.comparison.pairing import Pairs
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.promotions import BACK, TESTED, Overtaken, Promotion, Promotions
from thalweg.stream.runtime import REAL, Runtime, Signal

log = structlog.get_logger(__name__)

_SAVE_SECONDS = 1.0
_IDLE_SECONDS = 0.2
_BLOCKS_A_TURN = 100
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """What is compared."""

    alias: str
    """The alias's name."""
    champion: str
    """The champion that the configuration names."""
    members: Sequence[str]
    """The models of the alias."""
    alpha: float
    """Probability of a false promotion, ever."""
    loss: str = "auto"
    """Which loss, see `losses`."""
    losses: Mapping[str, Path]
    """By model, the folder of its losses."""
    comparison: Path
    """The file of the comparison."""
    left_out: Callable[[str, str], str] = lambda champion, challenger: ""
    """Why this challenger cannot be compared with this champion; empty if it can."""
    loss_range: Callable[[str], tuple[float, float]] = lambda champion: (0.0, 1.0)
    """The lowest and the highest loss of this champion's task."""
    promoted: Callable[[str, str, int], None] = lambda champion, challenger, events: None
    """Called after a promotion, with the number of events that it rests on."""
    refusals: Callable[[str, str], Sequence[str]] = lambda champion, challenger: ()
    """Why requests would be refused if this champion gave way to this challenger now."""


class Judge:
    """Compares the models of one alias; one thread calls `run`, or `turn`.

    Args:
        settings: What is compared.
        promotions: Those of the alias.
        health: Reports what it waits for.
        runtime: Clocks and waits.
    """

    def __init__(
        self, settings: JudgeSettings, promotions: Promotions, health: Health | None = None, runtime: Runtime = REAL
    ) -> None:
        self._settings, self._promotions = settings, promotions
        self._health = health or Health("comparison")
        self._clock, self._ticks = runtime.clock, runtime.ticks
        self._stopping: Signal = runtime.signal()
        self._comparison: Comparison | None = None
        self._newest: Promotion | None = None
        self._left_out: dict[str, str] = {}
        self._waits = self._held = ""
        self._waits_since: float | None = None
        self._decided: tuple[Comparison, Decision] | None = None
        self._block: BlockLosses | None = None
        self._readers: dict[str, LossReader] = {}
        self._unread: dict[str, Iterator[BlockLosses]] = {}
        self._pairs: dict[str, Pairs] = {}
        self._saved: ComparisonReport | None = None
        self._saved_at = -math.inf

    @property
    def comparison(self) -> Comparison | None:
        """The comparison; None before the first turn."""
        return self._comparison

    def stop(self) -> None:
        """Ask `run` to save and return."""
        self._stopping.set()

    def run(self) -> None:
        """Compare until `stop`. Raises OSError or ValueError if files cannot be read or written."""
        try:
            while not self._stopping.is_set():
                if not self.turn():
                    self._stopping.wait(_IDLE_SECONDS)
        finally:
            if self._comparison is not None:
                self.save()

    def turn(self) -> bool:
        """Compare what is there, up to some number of blocks; whether there was anything.

        Raises:
            OSError: A file cannot be read or written.
            ValueError: The comparison's file holds something else.
        """
        self._follow()
        moved = False
        for _ in range(_BLOCKS_A_TURN):
            if not self._compare_next():
                break
            moved = True
        if self._ticks() - self._saved_at >= _SAVE_SECONDS:
            self.save()
        self._tell()
        return moved

    def _tell(self) -> None:
        """What keeps the comparison from going on: a challenger that is a moment behind is nothing to tell."""
        if not self._waits:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = self._ticks()
        if self._waits_since is not None and self._ticks() - self._waits_since >= _PATIENCE_SECONDS:
            self._health.waiting(self._waits)
        elif self._left_out:
            self._health.degraded("; ".join(f"{name} is not compared: {why}" for name, why in self._left_out.items()))
        else:
            self._health.running()

    def save(self) -> None:
        """Save where the comparison is, and delete the losses that it needs no more. Raises OSError."""
        assert self._comparison is not None
        self._saved_at = self._ticks()
        report = ComparisonReport(
            self._comparison, self._settings.loss, self._clock(), self._waits, self._held, dict(self._left_out)
        )
        if self._saved is not None and replace(self._saved, time=report.time) == report:
            return
        write_comparison(self._settings.comparison, report)
        self._saved = report
        for reader in self._readers.values():
            reader.forget(self._comparison.done)

    # -- following promotions -----------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Begin, or begin a new comparison where another model has become the champion."""
        if self._newest is not None and not self._promotions.changed():
            return
        if self._newest is None:
            known = self._promotions.settle(self._settings.champion, self._settings.members)
        else:
            known = self._promotions.read()
        if known[-1] == self._newest:
            return
        before, self._newest = self._comparison, known[-1]
        if before is None and (kept := read_comparison(self._settings.comparison)) is not None:
            before = kept.comparison if kept.loss == self._settings.loss else replace(kept.comparison, promotion=-1)
        with self._health.slow():  # learners are made to see what they take
            self._comparison = self._next_comparison(before, self._newest)
        self._decided, self._block, self._waits = None, None, ""
        self._held = (
            f"an operator went back to {self._newest.champion}: promote another model by hand"
            if self._newest.cause == BACK
            else ""
        )
        self._readers = {name: LossReader(self._settings.losses[name]) for name in self._settings.members}
        self._unread = {name: reader.blocks() for name, reader in self._readers.items()}
        self._pairs = {test.challenger: Pairs() for test in self._comparison.tests}
        self._saved_at = -math.inf

    def _next_comparison(self, before: Comparison | None, newest: Promotion) -> Comparison:
        champion = newest.champion
        self._left_out = {}
        challengers = []
        for name in self._settings.members:
            if name == champion:
                continue
            if why := self._settings.left_out(champion, name):
                self._left_out[name] = why
                log.warning("a challenger is not compared", alias=self._settings.alias, model=name, problem=why)
            else:
                challengers.append(name)
        alpha = self._settings.alpha
        if before is not None and before.promotion == newest.number and before.alpha == alpha:
            return before.with_challengers(challengers)
        groups, done = (0, {}) if before is None else (before.groups, dict(before.done))
        if newest.cause == TESTED and newest.evidence is not None:
            groups, done = max(groups, int(newest.evidence["groups"])), dict(newest.evidence["done"])
        fresh = Comparison(
            champion, newest.number, alpha, groups, Bounds(*self._settings.loss_range(champion)), (), done
        )
        return fresh.with_challengers(challengers)

    # -- comparing ----------------------------------------------------------------------------------------------------

    def _compare_next(self) -> bool:
        """Compare the champion's next block; False if there is none, or a challenger is waited for."""
        assert self._comparison is not None
        if self._decided is not None:
            return self._promote(*self._decided)
        if self._block is None:
            self._block = self._next_of(self._comparison.champion)
        if self._block is None or not self._all_there(self._block):
            return False
        after, decision = step(self._comparison, self._block, self._pairs, acting=not self._held)
        after = self._with_late_done(after)
        if decision is not None:  # until it is recorded, a restart begins before the block
            self._decided = after, decision
            return self._promote(after, decision)
        self._comparison, self._block = after, None
        for test in after.tests:
            self._pairs[test.challenger].drop(after.done)
            self._pairs[test.challenger].by_id.drop(test.reached or 0)
        return True

    def _with_late_done(self, comparison: Comparison) -> Comparison:
        """With what was paired by id marked as done in the challengers' own topics: nobody reads it again."""
        done = dict(comparison.done)
        for test in comparison.tests:
            late = {} if test.reached is None else self._pairs[test.challenger].by_id.done(test.reached)
            done |= {place: last for place, last in late.items() if last > done.get(place, -1)}
        return replace(comparison, done=done)

    def _next_of(self, name: str) -> BlockLosses | None:
        block = next(self._unread[name], None)
        if block is None:  # that iterator has ended: more may be written later
            self._unread[name] = self._readers[name].blocks()
        return block

    def _all_there(self, block: BlockLosses) -> bool:
        """Whether every challenger has consumed the records of the champion's block."""
        assert self._comparison is not None
        done, late, labels = self._comparison.done, [], []
        keys = block.keys[undone(block, done)]
        keys = keys[keys >= 0]
        for name, pairs in self._pairs.items():
            if not self._read_while(name, lambda pairs=pairs: pairs.behind(block.spans, done)):  # type: ignore[misc]
                late.append(name)
            elif len(keys) and not self._has_late(name, pairs, keys.tolist()):
                labels.append(name)
        told = [f"{' and '.join(late)} learns behind {self._comparison.champion}"] if late else []
        told += [f"{' and '.join(labels)} has fewer late labels than {self._comparison.champion}"] if labels else []
        self._waits = "; ".join(told)
        return not told

    def _has_late(self, name: str, pairs: Pairs, keys: list[int]) -> bool:
        """Whether these events with late labels can be paired, or can never be."""
        reached = self._reached(name)
        if reached is None:
            self._read_while(name, lambda: True)
            reached = self._reach(name, pairs.by_id.number_of(keys))
        if self._read_while(name, lambda: pairs.by_id.behind(keys, reached)):
            return True
        if pairs.by_id.end <= reached:  # the model has begun anew, and so have its numbers
            self._reach(name, None)
        return False

    def _read_while(self, name: str, wanted: Callable[[], bool]) -> bool:
        """Read a challenger's losses while more are wanted; whether none are any more."""
        assert self._comparison is not None
        while wanted():
            if (theirs := self._next_of(name)) is None:
                return False
            self._pairs[name].add(theirs, self._comparison.done)
        return True

    def _reached(self, name: str) -> int | None:
        assert self._comparison is not None
        return next(test.reached for test in self._comparison.tests if test.challenger == name)

    def _reach(self, name: str, reached: int | None) -> int:
        assert self._comparison is not None
        tests = (replace(one, reached=reached) if one.challenger == name else one for one in self._comparison.tests)
        self._comparison = replace(self._comparison, tests=tuple(tests))
        return -1 if reached is None else reached

    def _promote(self, comparison: Comparison, decision: Decision) -> bool:
        """Act on a decision that led to this comparison; whether the comparison goes on."""
        assert self._newest is not None
        with self._health.slow():
            reasons = self._settings.refusals(comparison.champion, decision.challenger)
        if reasons:
            self._waits = f"{decision.challenger} is better and cannot answer yet: {'; '.join(reasons)}"
            return False
        evidence = {
            **asdict(decision),
            "log_evidence": decision.sums.log_evidence,
            "log_needed": -math.log(decision.alpha),
            "groups": comparison.groups,
            "done": dict(comparison.done),
        }
        with suppress(Overtaken):  # else the next turn follows what an operator has decided meanwhile
            self._promotions.promote_tested(decision.challenger, self._newest, evidence)
            log.warning(
                "a challenger is better: promoted",
                alias=self._settings.alias,
                model=decision.challenger,
                champion=comparison.champion,
                events=decision.sums.events,
                mean_difference=round(decision.sums.mean, 6),
            )
            self._settings.promoted(comparison.champion, decision.challenger, decision.sums.events)
        self._decided = None
        self._follow()
        return True
