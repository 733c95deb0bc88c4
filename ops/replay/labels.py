"""What a replay says of labels: when they were known, and why rows were not answered."""

from __future__ import annotations

from thalweg.ops.replay.replay import Replayed
from thalweg.proto.bounds.counted import counted


def when_known(done: Replayed) -> str:
    """When the model, and the controls, knew a row's label."""
    if not done.labelled:
        return "of no row: nothing is graded"
    size, delay = done.batch_events, done.delay_events
    if size == 1:
        return f"{delay:,} {'row' if delay == 1 else 'rows'} late" if delay else "before the next row"
    if not delay:
        return f"after each micro-batch of {counted(size, 'row')}, up to {counted(size - 1, 'row')} late"
    return f"{delay:,} to {delay + 2 * size - 2:,} rows late, in micro-batches of {counted(size, 'row')}"


def why_unanswered(done: Replayed) -> str:
    """Why labelled rows got no answer."""
    what = "class" if done.learner.schema.label == "class" else "label"
    return f"because no {what} was known yet"
