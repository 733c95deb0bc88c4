"""Validation of `[model.scale] answers = "merge"`: whether what the shards of a model learn can be merged exactly."""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.models.columns.merging import order_free, remedy
from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.models.contract.merging import merge_mistakes, refusal
from thalweg.models.parts.settings import Mistake
from thalweg.ops.config.model import ModelConfig

_ANSWERS = ("scale", "answers")
_BY_KEY = 'answers = "key" lets each shard answer for the keys of its partition'


def merging_mistakes(model: ModelConfig, *, tuned: bool = False) -> Iterator[Mistake]:
    """Why the shards of a valid model cannot be merged, and what to set instead; nothing where they are not to be.

    `tuned`: whether variants learn beside it.
    """
    if model.scale is None or model.scale.answers != "merge":
        return
    learner = model.new_learner()
    if capability(learner, Mergeable) is None:
        yield Mistake(_ANSWERS, f"what a {model.learner} has learned cannot be merged; {_BY_KEY}")
        return
    declared = merge_mistakes(model.learner, model.params)
    found = [Mistake(("params", key), text) for key, text in (declared or {}).items()]
    found += _of_columns(model)
    if tuned:
        text = f"each shard would choose another variant: [model.tune] cannot be merged; {_BY_KEY}"
        found.append(Mistake(_ANSWERS, text))
    if model.drift.action == "raise_forgetting":
        text = "an alarm of one shard would fade its own events alone, in an order that others do not have; "
        found.append(Mistake(("drift", "action"), f"{text}expected observe"))
    yield from found
    if not found and declared is None and (why := refusal(learner, model.new_learner())):
        yield Mistake(_ANSWERS, f"{why}; {_BY_KEY}")


def _of_columns(model: ModelConfig) -> Iterator[Mistake]:
    for name, column in model.named_columns().items():
        if not order_free(column):
            text = f"its features depend on events of its own shard, which others do not know; {remedy(column)}"
            yield Mistake(("columns", name), text)
