"""Validation of a learner's parameters, and of whether the learner can be created from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from thalweg.memory.devices.names import AUTO, CPU, unavailable
from thalweg.models.columns.make import params_behind_columns, takes_columns
from thalweg.models.columns.merging import order_free, remedy
from thalweg.models.contract.capabilities import Averageable, Forgetting, Mergeable, capability
from thalweg.models.contract.devices import takes_device
from thalweg.models.contract.learner import Learner, ParamsError
from thalweg.models.contract.merging import merge_mistakes, refusal
from thalweg.models.contract.registry import UnknownLearner, find
from thalweg.models.encoders.kinds import needs_torch
from thalweg.models.encoders.spec import IDENTITY
from thalweg.models.parts.settings import Mistake, Settings
from thalweg.ops.config.model import ModelConfig
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.proto.task import task_of
from thalweg.stream.tuning.params import TuneParams
from thalweg.stream.tuning.settings import name_of, settings_of

_LABELS = {"number": "numbers", "none": "of no use"}
_OF_THE_ENCODER = {"encoder", "weights", "weights_strict", "encoder_arguments", "encoder_columns"}
_OF_THE_LEARNER = {"learner", "inputs", "columns", "params", "seed", "classes", "scale", *_OF_THE_ENCODER}

_ANSWERS = ("scale", "answers")
_BY_KEY = 'answers = "key" lets each shard answer for the keys of its partition'


def params_type(learner: str) -> type[Settings] | None:
    """The class of a learner's parameters: its factory's `params_type`, or None. Raises UnknownLearner."""
    kind = getattr(find(learner), "params_type", None)
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def learner_mistakes(table: dict[str, Any], wrong: set[str]) -> Iterator[Mistake]:
    """The mistakes in a model's table that concern its learner.

    Args:
        table: The `[[model]]` table.
        wrong: Its invalid keys; the checks use only the others.
    """
    if not wrong & _OF_THE_LEARNER:
        given = {key: value for key, value in table.items() if key in _OF_THE_LEARNER}
        given |= {key: table[key] for key in ("drift", "quality_floor") if key in table and key not in wrong}
        model = ModelConfig.model_validate({"name": "any", "topic": "any", **given})
        yield from (found := [*_tried(model)])
        if not found:
            yield from _merging_mistakes(model, table)
        if "tune" in table and "tune" not in wrong:
            yield from _variant_mistakes(given, TuneParams.of(table["tune"]))
    elif not wrong & {"learner", "params"}:
        try:
            kind = params_type(table["learner"])
            if kind is not None:
                kind.of(table.get("params", {}))
        except UnknownLearner as error:
            yield Mistake(("learner",), str(error))
        except ParamsError as error:
            yield from (Mistake(("params", key), text) for key, text in error.mistakes.items())


def _merging_mistakes(model: ModelConfig, table: dict[str, Any]) -> Iterator[Mistake]:
    """Why the shards of a valid model of a table cannot be merged, and what to set instead; nothing where they are not
    to be.
    """
    if (scale := model.sharded) is None:
        return
    learner = model.new_learner()
    if scale.answers != "merge":
        if scale.average_every:
            yield from _averaging_mistakes(model, learner)
        return
    if capability(learner, Mergeable) is None:
        yield Mistake(_ANSWERS, f"what a {model.learner} has learned cannot be merged; {_BY_KEY}")
        return
    declared = merge_mistakes(model.learner, model.params)
    found = [Mistake(("params", key), text) for key, text in (declared or {}).items()]
    found += _of_columns(model)
    if "tune" in table:
        text = f"each shard would choose another variant: [model.tune] cannot be merged; {_BY_KEY}"
        found.append(Mistake(_ANSWERS, text))
    if model.drift.action == "raise_forgetting":
        text = "an alarm of one shard would fade its own events alone, in an order that others do not have; "
        found.append(Mistake(("drift", "action"), f"{text}expected observe"))
    yield from found
    if not found and declared is None and (why := refusal(learner, model.new_learner())):
        yield Mistake(_ANSWERS, f"{why}; {_BY_KEY}")


def _averaging_mistakes(model: ModelConfig, learner: Learner) -> Iterator[Mistake]:
    """Why parameters of the shards of a valid model cannot be averaged."""
    key = ("scale", "average_every")
    if "tune" in model.model_fields_set and model.tune is not None:
        yield Mistake(key, "each shard would choose another variant: expected no [model.tune] with it")
    elif capability(learner, Averageable) is None:
        yield Mistake(key, f"a {model.learner} has no parameters that are about all keys: expected 0")
    yield from _of_columns(model)


def _of_columns(model: ModelConfig) -> Iterator[Mistake]:
    for name, column in model.named_columns().items():
        if not order_free(column):
            text = f"its features depend on events of its own shard, which others do not know; {remedy(column)}"
            yield Mistake(("columns", name), text)


def device_mistakes(table: dict[str, Any], wrong: set[str]) -> Iterator[Mistake]:
    """Why a model cannot compute on the device that its table names, here or anywhere; arguments as above."""
    name = table.get("device", AUTO)
    if name in (AUTO, CPU) or wrong & {"device", "learner", "encoder"}:
        return
    try:
        taken = takes_device(find(table["learner"])) or needs_torch(table.get("encoder", IDENTITY))
    except UnknownLearner:  # reported as a mistake of its own
        return
    if not taken:
        text = f"{table['learner']} computes on the processor alone: expected auto or cpu, got {name!r}"
        yield Mistake(("device",), text)
    elif why := unavailable(name):
        yield Mistake(("device",), why)


def _variant_mistakes(table: dict[str, Any], tune: TuneParams) -> Iterator[Mistake]:
    model = ModelConfig.model_validate({"name": "any", "topic": "any", **table})
    own = model.params
    for name, values in tune.params.items():
        every = [_effective({**own, name: value}, model) for value in values]
        if any(one in every[:number] for number, one in enumerate(every)):
            yield Mistake(("tune", "params", name), f"expected different values, got {values!r:.200}")
        elif every == [_effective(own, model)]:
            text = f"expected values besides the model's own, got only that: {values!r:.200}"
            yield Mistake(("tune", "params", name), text)
    try:
        form = _form(model)
    except ValueError:  # a mistake of the model, told as that
        form = None
    told: set[tuple[str, str]] = set()
    refused: list[dict[str, Any]] = []
    for params in settings_of(own, tune.params, tune.variants)[1:]:
        changed = {key: value for key, value in params.items() if key not in own or own[key] != value}
        if any(one.items() <= changed.items() for one in refused):
            continue
        found = _variant_problems(model.model_copy(update={"params": params}), form, next(iter(changed)))
        if found:
            refused.append(changed)
        for one in found.items():
            if one not in told:
                told.add(one)
                yield Mistake(("tune", "params", one[0]), f"{one[1]} (variant {name_of(own, params)})")


def _variant_problems(variant: ModelConfig, form: dict[str, Any] | None, changed: str) -> dict[str, str]:
    """Why this is no variant of a model of this form, by parameter; None: the form is not known."""
    try:
        found = _form(variant)
    except ParamsError as error:
        return {key: text for key, text in error.mistakes.items() if not _is_of_model(variant, key)}
    except ValueError as error:
        return {} if form is None else {changed: str(error)}
    if form is None:
        return {}
    texts = [f"{name} {form[name]}, got {one}" for name, one in found.items() if one != form[name]]
    return {changed: f"every variant answers as the model does: expected {'; '.join(texts)}"} if texts else {}


def _form(model: ModelConfig) -> dict[str, Any]:
    """What all variants of a model have in common."""
    learner = model.new_learner()
    schema, predictor = learner.schema, learner.predictor()
    return {
        "task": predictor.task.name,
        "labels": schema.label,
        "label width": schema.label_width,
        "inputs": _specs(schema.inputs),
        "inputs of requests": _specs(predictor.inputs),
        "outputs": _specs(predictor.outputs),
        "columns": ", ".join(schema.columns),
        "classes": list(schema.classes),
    }


def _specs(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {one.dtype} {list(one.shape)}" for name, one in sorted(specs.items()))


def _effective(params: dict[str, Any], model: ModelConfig) -> dict[str, Any]:
    try:
        return effective_params(model.model_copy(update={"params": params}))
    except ValueError:  # told for the variant
        return params


def _tried(model: ModelConfig) -> Iterator[Mistake]:
    try:
        learner = model.new_learner()
        if model.drift.action == "raise_forgetting" and capability(learner, Forgetting) is None:
            text = f"a {model.learner} cannot raise forgetting, got 'raise_forgetting'"
            yield Mistake(("drift", "action"), text)
        if model.classes and (problem := _names_of_numbers(model.classes, learner.schema)):
            yield Mistake(("classes",), problem)
        if model.quality_floor is not None:
            task = task_of(learner.predictor())
            low, high = task.quality_range
            if not low <= model.quality_floor <= high:
                expected = f"{low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
                text = f"expected {expected}, a value of {task.quality}, got {model.quality_floor:g}"
                yield Mistake(("quality_floor",), text)
    except UnknownLearner as error:
        yield Mistake(("learner",), str(error))
    except ParamsError as error:
        for key, text in error.mistakes.items():
            yield Mistake((key,) if _is_of_model(model, key) else ("params", key), text)
    except ValueError as error:
        yield Mistake((), str(error))


def _names_of_numbers(names: Sequence[str], schema: Schema) -> str | None:
    """What is wrong with names of classes where labels are something else."""
    if schema.label == "class" or (schema.label == "number" and schema.label_width == 1 and len(names) == 2):
        return None
    if schema.label == "number" and schema.label_width == 1:
        return f"expected two names, for the labels 0 and 1, where labels are numbers, got {len(names)}"
    return f"no such key here: the labels of this model are {_LABELS[schema.label]}, not classes"


def _is_of_model(model: ModelConfig, key: str) -> bool:
    """Whether a learner's mistake is about a key of the model's table, not about a parameter."""
    first = key.partition(".")[0]
    of_encoder = model.encoder != IDENTITY and first in _OF_THE_ENCODER
    return of_encoder or (first in ("inputs", "columns") and first not in model.params)


def effective_params(model: ModelConfig) -> dict[str, Any]:
    """Every effective parameter of a model's learner; if it declares none, the given ones."""
    given = dict(model.params)
    if model.columns and not takes_columns(model.learner):
        given = params_behind_columns(model.learner, given, model.encoding())
    kind = params_type(model.learner)
    return given if kind is None else kind.of(given).model_dump()
