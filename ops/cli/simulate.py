"""`thalweg simulate`: the whole loop under injected faults, in one deterministic thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from difflib import get_close_matches

from rich.console import Console

from thalweg.ops.run.failed import Failed
from thalweg.ops.simulate.simulate import simulate
from thalweg.ops.simulate.world import KINDS, Verdict
from thalweg.proto.bounds.counted import counted

_LINES_SHOWN = 40


def run(seed: int, steps: int, seeds: int, without: Sequence[str], trace: bool) -> None:
    """Simulate `seeds` seeds from `seed` on, and print what was found.

    Raises:
        Failed: A check failed, or a kind of fault is unknown.
    """
    console = Console(highlight=False, soft_wrap=True)
    for kind in without:
        if kind not in KINDS:
            near = get_close_matches(kind, KINDS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise Failed(f"--without {kind}: no such kind of fault; {hint}known: {', '.join(KINDS)}")
    kinds = [kind for kind in KINDS if kind not in without]
    failed: list[int] = []
    started, simulated = time.perf_counter(), 0.0
    for number in range(seed, seed + seeds):
        verdict = simulate(number, steps, kinds)
        simulated += verdict.seconds
        if verdict.violations:
            failed.append(number)
            _show(console, verdict)
        elif trace:
            console.print("\n".join(verdict.lines), markup=False)
        if seeds == 1:
            console.print(_summary(verdict), markup=False)
    took = time.perf_counter() - started
    console.print(
        f"{counted(seeds, 'seed')}, {simulated:,.0f} simulated seconds in {took:,.1f} s: "
        + (f"{len(failed)} failed: {', '.join(map(str, failed[:20]))}" if failed else "nothing found"),
        markup=False,
    )
    if failed:
        raise Failed(
            f"{len(failed)} of {counted(seeds, 'seed')} failed; again with: "
            f"thalweg simulate --seed {failed[0]} --steps {steps}"
        )


def _show(console: Console, verdict: Verdict) -> None:
    console.print("\n".join(verdict.lines[-_LINES_SHOWN:]), markup=False)
    for violation in verdict.violations:
        console.print(f"seed {verdict.seed}: {violation}", markup=False)
    console.print(f"seed {verdict.seed}: trace {verdict.trace_sha256}", markup=False)


def _summary(verdict: Verdict) -> str:
    return (
        f"seed {verdict.seed}: {counted(verdict.turns, 'turn')}, "
        f"{counted(verdict.events, 'record')}, {counted(verdict.learner_deaths, 'death')} of "
        f"the learner, trace {verdict.trace_sha256[:16]}"
    )
