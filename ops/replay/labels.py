"""What a replay says of labels: when they were known, and why rows were not answered."""

from __future__ import annotations

from thalweg.ops.config.learners import params_type
from thalweg.ops.replay.replay import Replayed
from thalweg.proto.bounds.counted import counted
from thalweg.proto.task import task_of

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


def why_unanswered(done: Replayed) -> str:
    """Why labelled rows got no answer, and what to set where that can be changed."""
    kind, params = params_type(done.model.learner), done.model.params
    if kind is not None and "key_events" in kind.model_fields and not params.get("key_file"):
        first = int(params.get("key_events", kind.model_fields["key_events"].default))
        return (
            f"because {done.model.learner} learns its keys from the first {counted(first, 'row')}, and answers none "
            "before; set fewer under [model.params] key_events, or give a sample of inputs as key_file"
        )
    what = "class" if done.learner.schema.label == "class" else "label"
    return f"because no {what} was known yet"


def left_out_text(done: Replayed) -> str:
    """What figures over all events leave out."""
    what = "a class that hardly ever came" if task_of(done.learner.predictor()).label == "class" else _BEYOND
    return f"{counted(done.left_out, 'row')} of {what}"
