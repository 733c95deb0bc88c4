"""A plan as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from thalweg.ops.scale.measure import Costs
from thalweg.ops.scale.plan import Plan


def show(console: Console, measured: Sequence[Costs], plans: Sequence[Plan]) -> None:
    """Print a column for each model, and what to do below."""
    table = Table(box=None, pad_edge=False, show_header=False)
    rows: dict[str, list[str]] = {}
    for costs, plan in zip(measured, plans):
        for name, value in _lines(costs, plan).items():
            rows.setdefault(name, []).append(value)
    for name, values in rows.items():
        table.add_row(name, *values)
    console.print(table)
    for plan in plans:
        if plan.advice:
            console.print(f"{plan.model}: {plan.bottleneck}: {plan.advice}", markup=False)


def _lines(costs: Costs, plan: Plan) -> dict[str, str]:
    per_event = costs.seconds_per_event
    parts = {
        "decode": costs.decode_seconds,
        "predict": costs.predict_seconds,
        "grade": costs.grade_seconds,
        "learn": costs.learn_seconds,
        "the rest": costs.other_seconds,
    }
    given = "" if plan.partitions_given else " (proposed)"
    return {
        "model": f"{costs.model} ({costs.learner})",
        "measured": f"{costs.events:,} made-up events, micro-batches of {costs.batch_events}",
        "an event": f"{1e6 * per_event:,.1f} µs",
        **{f"  {name}": f"{1e6 * seconds:,.1f} µs" for name, seconds in parts.items()},
        "rate": f"{plan.rate:,.0f} events/s",
        "partitions": f"{plan.partitions:,}{given}",
        "workers": f"{plan.workers:,}, the busiest learns {plan.used:.0%} of its time",
        "most at 70 %": f"{plan.most_rate:,.0f} events/s",
        "memory of each": f"{_bytes(plan.memory_bytes)} + {plan.memory_bytes_per_event:,.1f} B per event, until bounds",
        "from the log": f"{_bytes(plan.log_bytes)}/s",
        "journals": f"{_bytes(plan.journal_bytes)}/s",
        "snapshots": f"≤ {_bytes(plan.snapshot_bytes)}/s, each shard every {plan.snapshot_interval_seconds:,.1f} s",
        "versions": f"≤ {_bytes(plan.version_bytes)}/s, {_bytes(costs.version_bytes)} each",
        **({"merging": f"{plan.merge_share:.1%} of a core"} if plan.merge_share else {}),
        "bottleneck": plan.bottleneck,
    }


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError
