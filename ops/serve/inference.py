"""One inference core for all wires: finds the version, validates, predicts, and only then records and remembers.

A wire translates its bytes into an InferenceRequest and an InferenceResponse into its bytes, and nothing else. What a
request may have an effect on (the log, the request buffer) is touched only after the last check: a request that is
refused leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from thalweg.models.parts.input_columns import all_finite
from thalweg.ops.serve.errors import DeadlineExceeded, Unimplemented
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.serve.versions import CURRENT, Freshness
from thalweg.proto.answer import Answer
from thalweg.proto.schema import Array, InputError, Inputs
from thalweg.proto.task import task_of
from thalweg.proto.tensors import check_inputs
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.publication.ports import ServedVersion

USUAL_EXPLANATION = 10
"""Entries per row that explain an answer where a caller does not say how many."""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What a request asks for, without the values; the same for all requests of a caller who repeats itself."""

    model: str
    id: str = ""
    """The caller's own name for the request."""
    freshness: Freshness = CURRENT
    outputs: tuple[str, ...] = ()
    """Outputs to send, in this order; empty: all."""
    event_id: str | None = None
    """Under which the inputs are kept until their label comes; None: they are not kept."""
    explain: int = 0
    """Entries per row that are to explain the answer; 0: none."""

    plain: bool = field(init=False, repr=False, compare=False)
    """Whether it asks for nothing but all outputs of a model."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", not self.outputs and self.event_id is None and not self.explain)


class InferenceRequest(NamedTuple):
    """One request, whatever the wire. Made for each, and so no frozen dataclass: that takes a microsecond more."""

    options: RequestOptions
    inputs: Inputs
    """By name, each (N, ...); not yet held against what the model takes."""
    patience_seconds: float | None = None
    """Until the caller's deadline; None: it has none."""


class InferenceResponse(NamedTuple):
    """What a request is answered with."""

    options: RequestOptions
    """Of the request."""
    served: ServedVersion
    """The version that answered."""
    outputs: Mapping[str, Array]
    """All outputs of the model by name, each (N, ...); those to send are in `names`."""
    staleness_seconds: float
    """How old the newest knowledge in the answer is."""
    explanation: list[Any] | None = None
    """Per row what the answer was made from, as JSON knows it; None: the request did not ask."""

    @property
    def names(self) -> tuple[str, ...]:
        """Outputs to send, in order."""
        return self.options.outputs or tuple(self.served.predictor.outputs)

    @property
    def rows(self) -> int:
        """N."""
        return len(next(iter(self.outputs.values()), ()))


class InferenceCore:
    """Answers requests by the served models; any number of threads may call it at once."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._buffer, self._log = models.sinks.buffer, models.sinks.log

    def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Answer one request.

        Raises:
            UnknownModel: No model is called so.
            NotReady: It has no version yet, or the server is draining.
            DeadlineExceeded: The deadline has passed, or the wanted version did not come in time.
            InputError: Inputs, outputs or parameters do not fit.
            Unimplemented: The model does not offer what is asked for.
            Others: As `ModelVersions.find` raises them.
        """
        options, inputs, patience = request.options, request.inputs, request.patience_seconds
        if patience is not None and patience <= 0:
            raise DeadlineExceeded("the deadline has passed")
        model = self.models.ready(options.model)
        versions = model.versions
        served = versions.current() if options.freshness is CURRENT else versions.find(options.freshness, patience)
        if options.plain:
            outputs, explanation = _predict(model, served, inputs), None
            if self._log is not None:  # from here on nothing is refused
                _record(self._log, model, inputs)
        else:
            outputs, explanation = self._infer_with_options(model, served, options, inputs)
        return InferenceResponse(options, served, outputs, model.staleness_seconds(served), explanation)

    def _infer_with_options(
        self, model: ServedModel, served: ServedVersion, options: RequestOptions, inputs: Inputs
    ) -> tuple[Mapping[str, Array], list[Any] | None]:
        _check_outputs(options, served)
        _check_explain(options, model, served)
        outputs = _predict(model, served, inputs)
        self._check_event_id(options, model, inputs)
        explanation = served.explain(inputs, options.explain) if options.explain and served.explain else None
        answer = _answer(model, served, outputs) if options.event_id is not None else None
        if self._log is not None:  # from here on nothing is refused
            _record(self._log, model, inputs)
        if options.event_id is not None and self._buffer is not None:
            self._buffer.remember(model.name, options.event_id, inputs, answer)
        return outputs, explanation

    def _check_event_id(self, options: RequestOptions, model: ServedModel, inputs: Inputs) -> None:
        if options.event_id is None:
            return
        if not model.labels_topic or self._buffer is None:
            raise Unimplemented(
                f"parameter 'event_id': model {model.name!r} has no labels_topic, so no label would come"
            )
        if inputs.keys() != model.schema.inputs.keys():
            wanted = ", ".join(map(repr, model.schema.inputs))
            raise InputError(
                f"parameter 'event_id': expected inputs as events have them, {wanted}, got {sorted(inputs)}"
            )
        self._buffer.check(options.event_id, inputs)


def _record(log: RequestLog, model: ServedModel, inputs: Inputs) -> None:
    if inputs.keys() == model.schema.inputs.keys():  # others are no events
        log.record(model.name, inputs)


def _predict(model: ServedModel, served: ServedVersion, inputs: Inputs) -> Mapping[str, Array]:
    """The outputs for inputs that fit. Raises InputError for others, and then nothing was changed by them."""
    _check_finite(inputs)
    try:
        if served.check is not None:
            served.check(inputs)
        return served.predictor.predict(inputs)
    except InputError:
        _check_specs(model, served, inputs)  # a misfit is told in the protocol's words, whatever the learner's are
        raise


def _check_specs(model: ServedModel, served: ServedVersion, inputs: Inputs) -> None:
    specs, others = model.schema.inputs, served.alternative_inputs or {}
    known = {**specs, **others}
    for name in inputs:
        if name not in known:
            raise InputError(f"input {name!r:.80}: no such input; known: {', '.join(map(repr, known))}")
    check_inputs(others if inputs.keys() & others.keys() else specs, inputs)


def _check_finite(inputs: Inputs) -> None:
    for name, array in inputs.items():
        if array.dtype.kind == "f" and not all_finite(array):
            where = ""
            if array.ndim:
                row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
                where = f" in row {row}"
            raise InputError(f"input {name!r:.80}: expected finite numbers, got NaN or infinity{where}")


def _check_outputs(options: RequestOptions, served: ServedVersion) -> None:
    if options.outputs:
        known = served.predictor.outputs
        for name in options.outputs:
            if name not in known:
                raise InputError(f"output {name!r:.80}: no such output; known: {', '.join(map(repr, known))}")


def _check_explain(options: RequestOptions, model: ServedModel, served: ServedVersion) -> None:
    if options.explain < 0:
        raise InputError(f"parameter 'explain': expected true or a whole number from 0, got {options.explain}")
    if options.explain and served.explain is None:
        raise Unimplemented(f"parameter 'explain': a {model.learner} cannot say what moved an answer")


def _answer(model: ServedModel, served: ServedVersion, outputs: Mapping[str, Array]) -> Answer | None:
    """What was served, as its label will be graded by it."""
    predictor = served.predictor
    return Answer.of(served.info.version, outputs, predictor.classes, model.schema, task_of(predictor))
