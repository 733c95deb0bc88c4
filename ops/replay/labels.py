"""What a replay says of labels: when they were known, and why rows were not answered."""

from __future__ import annotations

from thalweg.ops.replay.replay import Replayed
from thalweg.proto.bounds.counted import counted
from thalweg.proto.task import task_of
from thalweg.stream.evaluation.grading import LARGEST_LOSS

_WARM_UP = 10  # events that an estimator may need before it predicts
_SEE = "a warning above says why, or its answers are no finite numbers"
_BEYOND = "another order of magnitude than all others"


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


def without_prediction(done: Replayed) -> int:
    """Labelled rows that got no answer, as those for which an estimator raises; 0 if no more than come before the first
    label is known.
    """
    before = done.delay_events + 2 * done.batch_events + _WARM_UP
    return done.unanswered if done.unanswered > before else 0


def why_unanswered(done: Replayed) -> str:
    """Why labelled rows got no answer."""
    if without_prediction(done):
        return "as the model gave no prediction for them"
    what = "class" if done.learner.schema.label == "class" else "label"
    return f"because no {what} was known yet"


def no_prediction_hint(done: Replayed) -> list[str]:
    """A sentence if figures leave out rows for which the model had no prediction."""
    if not (count := without_prediction(done)) or count == done.labelled:
        return []
    return [
        f"hint: the model gave no prediction for {count:,} of {counted(done.labelled, 'labelled row')}; "
        f"figures, the controls' too, are of the others alone: {_SEE}"
    ]


def left_out_text(done: Replayed) -> str:
    """What figures over all events leave out."""
    if task_of(done.learner.predictor()).label == "class":
        return f"{counted(done.left_out, 'row')} of a class that hardly ever came; accuracy and log_loss count them"
    return f"{counted(done.left_out, 'row')} of {_BEYOND}"


def unknown_class_text(done: Replayed) -> str:
    """What log-loss is without the rows of classes that nobody could know, and that of the constant rate; empty: there
    are none.
    """
    known = done.log_loss_of_known
    if known is None or not done.unknown_class:
        return ""
    rows = counted(done.unknown_class, "row")
    rate = done.controls_log_loss_of_known.get("majority")
    beside = "" if rate is None else f", majority {rate:.4f}"
    told = f"log_loss counts {rows} of a class that was not known yet, {LARGEST_LOSS:.1f} each"
    return f"{told}; without: {known:.4f}{beside}"


def why_nothing_graded(done: Replayed) -> str:
    """Why there is no figure although there were labels, and what to set."""
    if done.unanswered < done.labelled and done.learner.schema.label == "class":
        return (
            "nothing was graded: each event was the first of its key, or older than its key's newest; a key needs "
            "events that follow each other. Is `key` the column of who or what they belong to?"
        )
    if without_prediction(done):
        rows = counted(done.unanswered, "row")
        return f"nothing was graded: the model learned, and gave no prediction for {rows}; {_SEE}"
    if 1 < done.batch_events >= done.events:
        rows, fewer = counted(done.events, "row"), max(1, done.events // 8)
        return (
            f"nothing was graded: all {rows} came in one micro-batch, predicted before any of it was learned; "
            f"set fewer than {done.batch_events} batch_events in [[model]], {fewer} say"
        )
    return "nothing was graded: no event was predicted by a model that knew a label"
