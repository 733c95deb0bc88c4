"""`thalweg replay`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from threadpoolctl import threadpool_limits

from thalweg.ops.config.files.kinds import no_folder
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.replay.labels import (
    left_out_text,
    no_prediction_hint,
    unknown_class_text,
    when_known,
    why_nothing_graded,
    why_unanswered,
)
from thalweg.ops.replay.replay import Replayed, replay
from thalweg.ops.replay.report import NoMatplotlib, write_report
from thalweg.ops.replay.unsure import unsure_text
from thalweg.ops.run.failed import Failed
from thalweg.proto.bounds.counted import counted
from thalweg.stream.evaluation.figures.text import figure_text
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.sources.files import CsvMapping
from thalweg.stream.sources.standard_input import readable_twice


def run(
    model: ModelConfig,
    path: Path,
    mapping: CsvMapping,
    report: Path | None,
    limit: int | None,
    seed: int | None,
    frozen_after: int | None,
    delay_events: int,
    max_record_bytes: int,
) -> None:
    """Replay a file, with a progress bar on a terminal, and print the result. Raises Failed if no row could be used."""
    if report is not None and (told := no_folder(report)):  # before the work, not after it
        raise Failed(f"--report {report}: expected a folder, or a new one: {told}")
    if (column := model.column_of_label(mapping.label)) is not None:
        raise Failed(f"--label {mapping.label}: it is column {column!r} of the model, too: nothing is left to predict")
    console = Console(markup=False)  # labels and messages may hold [brackets]
    notices: list[str] = []
    with (
        threadpool_limits(1),
        readable_twice(path, mapping.encoding) as readable,
        Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:>9,.0f} events"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        ) as bar,
    ):
        task = bar.add_task("", total=limit)

        def progress(events: int, evaluation: Prequential) -> None:
            figures = "  ".join(f"{name} {figure_text(value)}" for name, value in evaluation.metrics().items())
            bar.update(task, completed=events, description=figures)

        done = replay(
            model,
            readable,
            mapping,
            limit=limit,
            seed=seed,
            frozen_after=frozen_after,
            delay_events=delay_events,
            max_record_bytes=max_record_bytes,
            progress=progress,
            notice=notices.append,
        )
    aside = Console(stderr=True)
    for text in notices:
        aside.print(text, markup=False, highlight=False, soft_wrap=True)
    if not done.events:
        read = done.unusable
        first = "".join(f"; line {one.row}: {one.reason}: {one.detail}" for one in done.rejected[:1])
        raise Failed(f"{path}: no row could be used: {counted(read, 'row was', 'rows were')} read{first}")
    _show(console, done)
    for text in (*no_prediction_hint(done), *done.hints):
        aside.print(text, markup=False, highlight=False, soft_wrap=True)
    if report is not None:
        try:
            for written in write_report(done, report):
                console.print(f"wrote {written}", highlight=False, soft_wrap=True)
        except NoMatplotlib as error:
            console.print(str(error), highlight=False, soft_wrap=True)


_SIGNALS = {
    "loss": "the model's error",
    "twin": "the frozen baseline's error",
    "confidence": "its confidence",
    "inputs": "its inputs",
    "predictions": "its predictions",
}
"""What an alarm was raised by."""


def _show_variants(console: Console, variants: Mapping[str, Mapping[str, float]]) -> None:
    """What `[model.tune]` found, the best of late first."""
    if not variants:
        return
    table = Table(Column("variant", no_wrap=True), "loss of late", "answered", box=None)
    for name, one in sorted(variants.items(), key=lambda each: each[1].get("loss", math.inf)):
        table.add_row(name + " *" * bool(one["answers"]), figure_text(one.get("loss")), f"{one['share']:.1%}")
    console.print(table)
    console.print("* answers now", highlight=False)


def _show(console: Console, done: Replayed) -> None:
    record = done.report()
    console.print(
        f"{record['model']} ({record['learner']}): {counted(record['events'], 'event')}, "
        f"{record['labelled']:,} labelled, "
        f"in {record['seconds']:.1f} s, "
        f"{record['events_per_second']:,.0f}/s, state {record['memory_bytes'] / 1e6:.2f} MB",
        highlight=False,
        soft_wrap=True,
    )
    unanswered = f"; not answered: {done.unanswered:,}, {why_unanswered(done)}" if done.unanswered else ""
    console.print(f"labels known {when_known(done)}{unanswered}", highlight=False, soft_wrap=True)
    controls = record["controls"]
    heads = (
        Column("metric", no_wrap=True),
        "all",
        f"last {done.model.window_events:,}",
        f"frozen after {done.frozen_after:,}",
    )
    table = Table(*heads, *(name.removeprefix("repeat_").replace("_", " ") for name in controls), box=None)
    for name in sorted({*record["metrics"], *record["recent"]}):
        columns = [*(record[part] for part in ("metrics", "recent", "frozen")), *controls.values()]
        figures = (column.get(name) for column in columns)
        table.add_row(name, *map(figure_text, figures))
    if table.row_count:
        console.print(table)
        if done.left_out:
            console.print(f"not in all figures: {left_out_text(done)}", highlight=False, soft_wrap=True)
        if told := unknown_class_text(done):
            console.print(told, highlight=False, soft_wrap=True)
        for told in unsure_text(done):
            console.print(told, highlight=False, soft_wrap=True)
        _show_variants(console, record["variants"])
    elif done.labelled:
        console.print(why_nothing_graded(done), highlight=False, soft_wrap=True)
    for alarm in done.alarms:
        console.print(
            f"drift {alarm.number}: since event {alarm.since:,}, noticed at event {alarm.start:,} "
            f"({_SIGNALS.get(alarm.signal, alarm.signal)})",
            highlight=False,
            soft_wrap=True,
        )
    for rejected in done.rejected[:5]:
        console.print(f"line {rejected.row}: {rejected.reason}: {rejected.detail}", highlight=False, soft_wrap=True)
    if done.reasons:
        counts = ", ".join(f"{count} {reason}" for reason, count in done.reasons.items())
        console.print(f"lines that could not be used: {counts}", highlight=False, soft_wrap=True)
    console.print(f"state_sha256 {record['state_sha256']}", highlight=False, soft_wrap=True)
