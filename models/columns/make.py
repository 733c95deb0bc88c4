"""Makes learners as configured: behind a feature stage if their inputs are columns, and behind an encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from thalweg.memory.devices.failures import DeviceFailed
from thalweg.memory.snapshots.state import State
from thalweg.models.columns.encoding import encoded_columns
from thalweg.models.columns.ids import id_columns
from thalweg.models.columns.stage import FeatureStage
from thalweg.models.columns.staged import StagedLearner, VersionReader
from thalweg.models.columns.transform import Transform
from thalweg.models.contract.devices import predictors_of
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.encoders.encoded import EncodedPredictor
from thalweg.models.encoders.encoded import make_learner as make_encoded
from thalweg.models.encoders.encoder import Encoder, shared_encoder
from thalweg.models.encoders.kinds import encoder_device
from thalweg.models.encoders.spec import IDENTITY, EncoderSpec, spec_of
from thalweg.proto.task import ADAPTATION

log = structlog.get_logger(__name__)


def takes_columns(name: str) -> bool:
    """Whether a learner takes columns as they are. Raises UnknownLearner."""
    return bool(getattr(find(name), "takes_columns", False))


def make_learner(
    name: str, context: LearnerContext, encoder: EncoderSpec | str = IDENTITY, weights: str = ""
) -> Learner:
    """A new learner; with columns it is behind a feature stage, unless it takes columns itself.

    Args:
        name: Name of the learner.
        context: Its inputs are the model's; with `columns`, their tensors.
        encoder: As in `Encoder`; it encodes the columns that it names, or else the features of all columns.
        weights: Weights of the encoder, if only its name is given.

    Raises:
        UnknownLearner: There is no learner of this name.
        ParamsError: Settings of the learner or the encoder are invalid, or the learner cannot learn from columns; then
            the key is `columns`.
    """
    spec = spec_of(encoder, weights)
    transform = transform_of(name, context, spec)
    if transform is None:
        return make_encoded(name, context, spec)
    stage = FeatureStage(transform)
    try:
        behind = replace(_behind(context, transform), params=params_behind_columns(name, context.params, spec))
        inner_spec = _behind_stage(spec)
        if inner_spec.name != IDENTITY:  # what it makes of the features are other features
            behind = replace(behind, smooth=None)
        inner = make_encoded(name, behind, inner_spec)
    except ParamsError as error:
        names: Sequence[str] = getattr(find(name), "input_names", ())
        raise ParamsError(dict(_as_column_mistakes(name, names, error))) from error
    if inner.predictor().task.name == ADAPTATION.name:  # a model that was trained before knows all features
        stage.all_fire()
    return StagedLearner(inner, stage)


def params_behind_columns(
    name: str, params: Mapping[str, Any], encoder: EncoderSpec | str = IDENTITY
) -> dict[str, Any]:
    """A learner's parameters where it learns from the features of columns: some have another default there, which its
    factory declares as `defaults_behind_columns`, as they are or as a function of those given. Raises UnknownLearner.
    """
    behind = _behind_stage(spec_of(encoder)).name
    defaults = {} if behind != IDENTITY else getattr(find(name), "defaults_behind_columns", {})
    return {**(defaults(params) if callable(defaults) else defaults), **params}


def predictor_maker(
    name: str, context: LearnerContext, encoder: EncoderSpec | str = IDENTITY, weights: str = ""
) -> Callable[[State], Predictor]:
    """Makes a predictor of each published version of the learner of `make_learner`. An encoder whose device has failed
    computes on the processor: answers are the same up to rounding.

    Raises:
        UnknownLearner: There is no learner of this name.
        ParamsError: Settings of the encoder are invalid.
    """
    spec = spec_of(encoder, weights)
    transform = transform_of(name, context, spec)
    inputs, behind = context.inputs, spec
    if transform is not None:
        inputs, behind = transform.specs, _behind_stage(spec)
    front = None if behind.name == IDENTITY else _answering_encoder(behind, replace(context, inputs=inputs))
    made = predictors_of(find(name), replace(context, inputs=inputs if front is None else front.specs))
    if front is not None:
        bare, encoder_ = made, front

        def made(state: State) -> Predictor:
            return EncodedPredictor(bare(state), encoder_)

    return made if transform is None else VersionReader(made, transform)


def _answering_encoder(spec: EncoderSpec, context: LearnerContext) -> Encoder:
    device = encoder_device(spec, context)
    try:
        return shared_encoder(spec, "", context.inputs, context.seed, device)
    except DeviceFailed as error:
        log.warning("answers are computed on the processor", encoder=spec.name, device=device, problem=str(error))
        return shared_encoder(spec, "", context.inputs, context.seed)


def transform_of(name: str, context: LearnerContext, encoder: EncoderSpec | str = IDENTITY) -> Transform | None:
    """What a learner's columns become; None without columns, or if it takes them as they are.

    Raises:
        UnknownLearner: There is no learner of this name.
        ParamsError: The columns, or the encoder of some of them, do not fit it.
    """
    spec = spec_of(encoder)
    if spec.columns and not context.columns:
        raise ParamsError({"encoder_columns": f"expected a model with columns, got {', '.join(spec.columns)}"})
    if not context.columns:
        return None
    if takes_columns(name):
        if spec.name != IDENTITY:
            raise ParamsError({"encoder": f"{name} takes columns as they are, got {spec.name!r} in front of it"})
        return None
    encoded = encoded_columns(spec, context.columns, context.seed, encoder_device(spec, context))
    left = {n: one for n, one in context.columns.items() if encoded is None or n not in encoded.columns}
    direct = id_columns(name, getattr(find(name), "input_names", ()), left)
    return Transform(context.columns, context.seed, direct, encoded)


def _behind_stage(spec: EncoderSpec) -> EncoderSpec:
    """The encoder of the features of a stage: none if it takes columns."""
    return EncoderSpec() if spec.columns else spec


def _behind(context: LearnerContext, transform: Transform) -> LearnerContext:
    return replace(context, inputs=transform.specs, columns={}, smooth=transform.layout.smooth())


def _as_column_mistakes(name: str, names: Sequence[str], error: ParamsError) -> list[tuple[str, str]]:
    """Report mistakes of the learner's inputs as mistakes of the columns.

    `names`: the only inputs that the learner takes; empty: it declares none, and its own words are passed on.
    """
    found = [(key, text) for key, text in error.mistakes.items() if key.partition(".")[0] != "inputs"]
    of_inputs = [text for key, text in error.mistakes.items() if key.partition(".")[0] == "inputs"]
    if of_inputs:
        why = f"it takes {', '.join(names)} as inputs" if names else "; ".join(of_inputs)
        found.append(("columns", f"{name} does not learn from columns: {why}"))
    return found
