"""The inference core, shared by gRPC and HTTP: finds the version, validates, predicts, then logs and buffers the
request.

An interface translates its bytes into an InferenceRequest and an InferenceResponse into its bytes, and nothing else.
Side effects of a request (on the log, the request buffer) happen only after the last check: a refused request has
none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np

from thalweg.models.parts.input_columns import all_finite
from thalweg.ops.serve.access.callers import CALLER
from thalweg.ops.serve.bounds.answer_bytes import AnswerBytes
from thalweg.ops.serve.bounds.pieces import explained, rows_of
from thalweg.ops.serve.by_key.keys import ROUTE, bare, check_texts
from thalweg.ops.serve.class_names import CLASSES, offered, why_no_label, with_classes
from thalweg.ops.serve.errors import EXPECTED, DeadlineExceeded, NotReady, Unimplemented
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.serve.versions import CURRENT, Freshness
from thalweg.ops.traces.requests import REQUEST
from thalweg.proto.answer import Answer
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.tensors import Fit
from thalweg.proto.schema import Array, InputError, Inputs
from thalweg.proto.task import task_of
from thalweg.proto.tensors import check_inputs
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.log.log import RecordTooLarge
from thalweg.stream.publication.ports import ServedVersion

USUAL_EXPLANATION = 10
"""Explanation entries per row if the caller does not give a number."""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The options of a request, without the values; equal for all requests of a caller that repeats itself."""

    model: str
    id: str = ""
    """The caller's id of the request."""
    freshness: Freshness = CURRENT
    outputs: tuple[str, ...] = ()
    """Names of the requested outputs, in this order; empty: all of the predictor."""
    event_id: str | None = None
    """The id under which the inputs, of one row, are buffered until their label arrives; None: they are not
    buffered.
    """
    explain: int = 0
    """Explanation entries per row; 0: none."""
    key: bytes | None = None
    """The key of all rows, for a model by key; None: not given."""

    plain: bool = field(init=False, repr=False, compare=False)
    """Whether the request asks for all outputs and nothing else."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", not self.outputs and self.event_id is None and not self.explain)


class InferenceRequest(NamedTuple):
    """One request, from any interface. A tuple because it is created per request: a frozen dataclass takes 1 µs
    more.
    """

    options: RequestOptions
    inputs: Inputs
    """By name, each (N, ...); not validated yet."""
    patience_seconds: float | None = None
    """Seconds until the caller's deadline; None: no deadline."""
    event_ids: Sequence[str | None] | None = None
    """The id of each row that is buffered until its label arrives, (N,); None: `options.event_id` says."""
    alive: Callable[[], bool] | None = None
    """Whether the caller still waits for the answer; None: it is taken to."""
    keys: Sequence[bytes | None] | None = None
    """The key of each row, (N,), for a model by key; None: not given, or among the inputs."""
    answer: AnswerBytes | None = None
    """Holds what the answer takes before it is computed; None: nobody counts."""


class InferenceResponse(NamedTuple):
    """The response to a request."""

    options: RequestOptions
    """The options of the request."""
    served: ServedVersion
    """The version that made the prediction."""
    outputs: Mapping[str, Array]
    """All outputs of the model by name, each (N, ...); the requested ones are in `names`."""
    staleness_seconds: float
    """Staleness of the version."""
    explanation: list[Any] | None = None
    """Explanations per row, as JSON values; None if not requested."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the requested outputs, in order."""
        return self.options.outputs or tuple(self.served.predictor.outputs)

    @property
    def no_label(self) -> str:
        """Why some rows have no label; empty if all have one, or the model predicts none."""
        return why_no_label(self.served.predictor, self.outputs, untaught=self.served.untaught)

    @property
    def rows(self) -> int:
        """N."""
        return len(next(iter(self.outputs.values()), ()))


class InferenceCore:
    """Answers requests from the served models. Thread-safe."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._buffer, self._log = models.sinks.buffer, models.sinks.log
        self._learning = frozenset() if self._log is None else frozenset(self._log.models)

    def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Answer one request.

        Raises:
            Unauthenticated, Forbidden: The caller lacks the role `predict`, or `learn` where the model learns from it.
            UnknownModel: There is no model or alias of this name.
            NotReady: The model has no version yet or has learned too little, or the server is draining.
            DeadlineExceeded: The deadline has passed, or the demanded version did not arrive in time.
            InputError: Inputs, outputs or parameters are invalid.
            TooLarge, QueueFull: The answer takes more memory than there is, ever or now, or is too long to be sent.
            RecordTooLarge: The model learns from it, and its inputs do not fit in a record of the log.
            Unimplemented: The model does not support what is requested.
            Others: As raised by `ModelVersions.find`.
        """
        options, inputs, patience = request.options, request.inputs, request.patience_seconds
        if (caller := CALLER.get()) is not None:
            caller.require("predict", options.model, "a prediction")
        if patience is not None and patience <= 0:
            raise DeadlineExceeded("the deadline has passed")
        model = self.models.ready(options.model, options.freshness)
        if caller is not None and self._teaches(request, model):
            caller.require("learn", options.model, "a prediction that the model learns from")
        if model.keys is not None:
            inputs = model.keys.read(inputs, options.key, request.keys)
        if model.tolerated:
            inputs = _without(model.tolerated, inputs)
        if model.fit is not None:
            inputs = _fitted(model.fit, inputs)
        versions = model.versions
        served = versions.current() if options.freshness is CURRENT else versions.find(options.freshness, patience)
        if untrained := model.untrained(served):
            self._refuse_untrained(request, model, inputs, untrained)
        _check_outputs(options, served)
        if request.answer is not None:
            entries = min(options.explain, _most_entries(inputs)) if options.explain > 0 else 0
            request.answer.hold(options.model, served.predictor, options.outputs, rows_of(inputs), entries)
        try:
            if options.plain and request.event_ids is None:
                self._check_size(model, inputs)
                outputs, explanation = _predict(model, served, inputs, request), None
                if self._log is not None:  # from here on nothing is refused
                    _record(self._log, model, inputs)
            else:
                outputs, explanation = self._infer_with_options(model, served, request, inputs)
        except EXPECTED:
            raise
        except Exception as error:
            model.answers.raised(error, served.info.version)
            raise
        model.answers.answered()
        if model.copied is not None:
            asked = request.inputs if model.keys is None else {**request.inputs, ROUTE: inputs[ROUTE]}
            model.copied(served.predictor, asked, outputs)
        if (awaiting := model.awaiting) is not None and awaiting.awaited:
            awaiting.answered(served.info.version - model.base, REQUEST.get())
        return InferenceResponse(options, served, outputs, model.staleness_seconds(served), explanation)

    def _infer_with_options(
        self, model: ServedModel, served: ServedVersion, request: InferenceRequest, inputs: Inputs
    ) -> tuple[Mapping[str, Array], list[Any] | None]:
        options = request.options
        _check_explain(options, model, served)
        outputs = _predict(model, served, inputs, request)
        if CLASSES in options.outputs:
            outputs = with_classes(served.predictor, outputs)
        self._check_size(model, inputs)
        waiting = self._waiting(request, model, inputs)
        explanation = None
        if options.explain and served.explain:
            explanation = explained(served.explain, inputs, options.explain, rows_of(inputs))
        answers = [_answer(model, served, _row(outputs, place)) for place, _, _ in waiting]
        if self._log is not None:  # from here on nothing is refused
            _record(self._log, model, inputs)
        for (place, id, row), answer in zip(waiting, answers):
            self._remember(model, id, row, _row(request.inputs, place), answer, _key(inputs, place))
        return outputs, explanation

    def _refuse_untrained(self, request: InferenceRequest, model: ServedModel, inputs: Inputs, why: str) -> NoReturn:
        """Raise NotReady. A valid request that waits for its label is buffered all the same: a model that learns from
        such requests alone would else never begin.
        """
        _check_finite(model, inputs)
        named = request.options.event_id is not None or request.event_ids is not None
        if named and bare(inputs).keys() == model.schema.inputs.keys():
            check_inputs(model.schema.inputs, bare(inputs))
            waiting = self._waiting(request, model, inputs)
            for place, id, row in waiting:
                self._remember(model, id, row, _row(request.inputs, place), None, _key(inputs, place))
            ids = ", ".join(f"{id!r:.80}" for _, id, _ in waiting[:3]) + ", …" * (len(waiting) > 3)
            why += f"; the request waits for the label of {ids}"
        raise NotReady(f"model {model.name!r}: {why}")

    def _waiting(self, request: InferenceRequest, model: ServedModel, inputs: Inputs) -> list[tuple[int, str, Inputs]]:
        """The rows that wait for a label, with their ids, checked; without their keys."""
        options = request.options
        if options.event_id is None and request.event_ids is None:
            return []
        if not model.labels_topic or self._buffer is None:
            raise Unimplemented(
                f"parameter 'event_id': model {model.name!r} has no labels_topic, so no label can arrive"
            )
        keys, inputs = inputs.get(ROUTE), bare(inputs)
        if inputs.keys() != model.schema.inputs.keys():
            wanted = ", ".join(map(repr, model.schema.inputs))
            raise InputError(f"parameter 'event_id': expected the inputs of events, {wanted}, got {sorted(inputs)}")
        if keys is not None:
            check_texts(keys.tolist())
        if request.event_ids is None:
            waiting = [(0, options.event_id or "", inputs)]
        else:
            named = [(place, id) for place, id in enumerate(request.event_ids) if id is not None]
            waiting = [(place, id, _row(inputs, place)) for place, id in named]
        for _, id, row in waiting:
            self._buffer.check(id, row)
            self._buffer.check_size(model.buffered_as, row)
        return waiting

    def _remember(
        self,
        model: ServedModel,
        event_id: str,
        row: Inputs,
        asked: Inputs,
        answer: Answer | None,
        key: bytes | None = None,
    ) -> None:
        """Buffer a valid row until its label arrives; under an alias also for the challengers, which learn from the
        same labels. Their predictions were not served: what is graded of them is what they predict then.

        Args:
            model: The model that answers.
            event_id: The id that the label will have.
            row: Its inputs, (1, ...) each.
            asked: All inputs of the request's row, some perhaps of challengers alone.
            answer: What was served; None: nothing.
            key: The key of its event; None: none.
        """
        assert self._buffer is not None
        self._buffer.add(model.buffered_as, event_id, row, answer, key)
        for other in model.others:
            if other.labels_topic and other.buffered_as != model.buffered_as:
                specs = other.schema.inputs
                with suppress(InputError, RecordTooLarge):  # it takes other inputs: the challenger does without it
                    fitting: Inputs = {name: one for name, one in asked.items() if name in specs}
                    fitting = fitting if other.fit is None else _fitted(other.fit, fitting)
                    check_inputs(specs, fitting)
                    self._buffer.check_size(other.buffered_as, fitting)
                    self._buffer.add(other.buffered_as, event_id, fitting, None, key)

    def _teaches(self, request: InferenceRequest, model: ServedModel) -> bool:
        """Whether a model learns from a request: at once, or when its label arrives."""
        options, ids = request.options, request.event_ids
        named = options.event_id is not None or (ids is not None and any(id is not None for id in ids))
        return named or model.answering.name in self._learning

    def _check_size(self, model: ServedModel, inputs: Inputs) -> None:
        if self._log is not None and (own := bare(inputs)).keys() == model.schema.inputs.keys():
            self._log.check(model.answering.name, own)


def _without(names: frozenset[str], inputs: Inputs) -> Inputs:
    """The inputs without those of these names: other models of the alias take them."""
    return {name: one for name, one in inputs.items() if name not in names} if inputs.keys() & names else inputs


def _record(log: RequestLog, model: ServedModel, inputs: Inputs) -> None:
    own = bare(inputs)
    if own.keys() == model.schema.inputs.keys():  # alternative inputs are not events
        log.record(model.answering.name, own, inputs[ROUTE].tolist() if ROUTE in inputs else None)


def _predict(
    model: ServedModel, served: ServedVersion, inputs: Inputs, request: InferenceRequest
) -> Mapping[str, Array]:
    """The outputs for valid inputs. Raises InputError for others, and then has changed nothing."""
    _check_finite(model, inputs)
    try:
        if served.check is not None:
            served.check(inputs)
        outputs = model.batches.predict(served, inputs, request.patience_seconds, request.alive)
    except InputError:
        _check_specs(model, served, bare(inputs))  # reported in the protocol's terms, whatever the learner's are
        raise
    if model.trial.wants_row:
        model.trial.offer(inputs)
    return outputs


def _check_specs(model: ServedModel, served: ServedVersion, inputs: Inputs) -> None:
    specs, others = model.schema.inputs, served.alternative_inputs or {}
    known = {**specs, **others}
    for name in inputs:
        if name not in known:
            raise InputError(f"input {name!r:.80}: no such input; known: {', '.join(map(repr, known))}")
    check_inputs(others if inputs.keys() & others.keys() else specs, inputs)


def _fitted(fit: Fit, inputs: Inputs) -> Inputs:
    try:
        return fit(inputs, None)
    except Refused as error:
        raise InputError(str(error)) from error


def _check_finite(model: ServedModel, inputs: Inputs) -> None:
    """Raise InputError for NaN and infinity, but for NaN in a column: there it is a missing value."""
    for name, array in inputs.items():
        if array.dtype.kind == "f" and not all_finite(array):
            column = name in model.schema.columns
            good = ~np.isinf(array) if column else np.isfinite(array)
            if good.all():
                continue
            where = ""
            if array.ndim:
                where = f" in row {int(np.flatnonzero(~good.reshape(len(array), -1).all(axis=1))[0])}"
            got = "infinity" if column else "NaN or infinity"
            raise InputError(f"input {name!r:.80}: expected finite numbers, got {got}{where}")


def _most_entries(inputs: Inputs) -> int:
    """About how many entries the explanation of a row may have: a learner's features are several per value."""
    return 64 + 8 * sum(array.size for array in inputs.values()) // max(1, rows_of(inputs))


def _key(inputs: Inputs, place: int) -> bytes | None:
    """The key of a row of a request to a model by key; None: it has none."""
    keys = inputs.get(ROUTE)
    return None if keys is None else keys[place]


def _row(arrays: Mapping[str, Array], place: int) -> Mapping[str, Array]:
    return {name: array[place : place + 1] for name, array in arrays.items()}


def _check_outputs(options: RequestOptions, served: ServedVersion) -> None:
    if options.outputs:
        known = offered(served.predictor)
        for name in options.outputs:
            if name not in known:
                raise InputError(f"output {name!r:.80}: no such output; known: {', '.join(map(repr, known))}")


def _check_explain(options: RequestOptions, model: ServedModel, served: ServedVersion) -> None:
    if options.explain < 0:
        raise InputError(f"parameter 'explain': expected true or a whole number of at least 0, got {options.explain}")
    if options.explain and served.explain is None:
        raise Unimplemented(
            f"parameter 'explain': a {model.learner} does not explain its predictions from these inputs"
        )


def _answer(model: ServedModel, served: ServedVersion, outputs: Mapping[str, Array]) -> Answer | None:
    """The served prediction, against which the label will be graded."""
    predictor, name = served.predictor, model.answering.name
    answer: Answer | None = Answer(served.info.version)  # no answer
    if not served.untaught:
        answer = Answer.of(served.info.version, outputs, predictor.classes, model.schema, task_of(predictor))
    return answer._replace(model=name) if answer is not None and name != model.buffered_as else answer
