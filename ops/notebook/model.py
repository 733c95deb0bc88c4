"""`thalweg.Model`: a model of the service in a notebook, fed with tables instead of a log.

It runs the service's own fold: the same events in the same micro-batches end in the same state, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from thalweg.memory.snapshots.snapshots import InMemorySnapshots, Snapshot
from thalweg.models.contract.capabilities import InputValidator, capability, is_untaught
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.models.contract.registry import UnknownLearner, find
from thalweg.ops.config.config import parse
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.learners import params_type
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.notebook.arrays import column_of, labels_of, table_of
from thalweg.ops.notebook.batches import batch_of, inputs_of
from thalweg.ops.notebook.evaluation import Evaluation, evaluated
from thalweg.ops.notebook.frames import Frame, table_like
from thalweg.ops.notebook.inference import check_classes_are_meant, columns_of, is_regression
from thalweg.ops.notebook.saving import Saved, opened, save
from thalweg.ops.notebook.values import FrameError, plain_values
from thalweg.ops.run.app import event_schema, new_learner, new_monitor, settings_of
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.schema import Array, Inputs, Schema
from thalweg.proto.task import Task, task_of
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold

_NAME = "model"
_RECORD_BYTES = 64 << 20


class Model:
    """A model that learns from tables.

    Args:
        learner: As `learner` of a `[[model]]`, such as `"ridge"`.
        columns: Kind by name, or a table with options (docs/columns.md); `inputs` for tensors instead: the width, or a
            shape, or a table, by name. Neither: columns are inferred from the first table.
        inputs: See `columns`.
        settings: Keys of a `[[model]]`, such as `seed`, `batch_events` or `encoder`; all others are parameters of the
            learner, such as `expansion`, and so are `classes` and `weights` of a learner that has such parameters.

    Raises:
        ConfigurationError: A setting is invalid; all mistakes at once.
    """

    def __init__(
        self,
        learner: str,
        *,
        columns: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        keys = set(ModelConfig.model_fields) - {"learner", "columns", "inputs", "params"}
        keys -= _params_of_its_own(learner)
        params = dict(settings.pop("params", {}))
        params |= {key: value for key, value in settings.items() if key not in keys}
        self._table: dict[str, Any] = {"name": _NAME, "learner": learner, "params": params}
        self._table |= {key: value for key, value in settings.items() if key in keys}
        self._table.setdefault("topic", f"{self._table['name']}.events")
        self.left_out: Mapping[str, str] = {}
        """Columns that were left out when columns were inferred, with the reason."""
        self._config: ModelConfig | None = None
        if columns is not None or inputs is not None:
            self._begin(columns, inputs)
        else:
            try:
                find(learner)
            except UnknownLearner as error:
                raise ConfigurationError([f"learner: {error}"]) from None

    @classmethod
    def of(cls, config: ModelConfig, snapshot: Snapshot | None = None) -> Model:
        """The model of a configuration, as it was in this snapshot. Raises StateMismatch."""
        made = cls.__new__(cls)
        made._table, made.left_out = config.model_dump(exclude_unset=True), {}
        made._use(config)
        if snapshot is not None:
            made._fold.load(snapshot)
        return made

    def _begin(self, columns: Mapping[str, Any] | None, inputs: Mapping[str, Any] | None) -> None:
        self._table |= {"columns": dict(columns)} if columns is not None else {}
        self._table |= {"inputs": {name: _input(one) for name, one in inputs.items()}} if inputs is not None else {}
        self._use(parse({"model": [self._table]}, "thalweg.Model", {}).model[0])

    def _use(self, config: ModelConfig) -> None:
        self._config = config
        self._learner = new_learner(config)
        self._schema = event_schema(config, self._learner)
        self._interrupted = False
        self.monitor = new_monitor(config, self._learner)
        """The prequential evaluation of everything that was learned."""
        settings = settings_of(config, _RECORD_BYTES)
        self._batch_events = settings.file_batch_events
        self._fold = Fold(
            self._learner,
            InMemorySnapshots(),
            settings,
            self.monitor,
            lambda: new_learner(config),
        )

    # What it is

    @property
    def config(self) -> ModelConfig:
        """Its configuration, as a `[[model]]`. Raises FrameError while columns are not known yet."""
        return self._known()

    def _known(self) -> ModelConfig:
        if self._config is None:
            raise FrameError("the model has no columns yet: learn from a table first, or give columns={NAME: KIND, …}")
        return self._config

    @property
    def schema(self) -> Schema:
        """The schema of its events."""
        self._known()
        return self._schema

    @property
    def fold(self) -> Fold:
        """The fold that learns."""
        self._known()
        return self._fold

    @property
    def learner(self) -> Learner:
        """The learner within the fold."""
        return self.fold.learner

    @property
    def predictor(self) -> Predictor:
        """The predictor of the present state."""
        return self.learner.predictor()

    @property
    def task(self) -> Task:
        """The kind of prediction."""
        return task_of(self.predictor)

    @property
    def columns(self) -> dict[str, Any]:
        """Its columns as in a configuration; empty for a model with tensors."""
        return {name: one.model_dump(exclude_unset=True) for name, one in self.config.columns.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the columns of `predict_proba`, which is that of their first events.
        Names are texts: 3 and 3.0 are the class "3", True is "true".
        """
        return self.predictor.classes if self._config is not None else ()

    @property
    def version(self) -> int:
        """Calls of `learn` so far; of a service, blocks of its log."""
        return self._fold.version if self._config is not None else 0

    @property
    def learned(self) -> int:
        """Labelled events so far."""
        return self._fold.learned if self._config is not None else 0

    @property
    def metrics(self) -> dict[str, float]:
        """Prequential metrics of everything learned: each row was predicted before it was learned."""
        return self.monitor.metrics() if self._config is not None else {}

    def state_sha256(self) -> str:
        """Hash of the learner's state, as in the manifest of a snapshot."""
        return self.learner.state().sha256()

    def __repr__(self) -> str:
        seen = f"{self.learned:,} labelled events in version {self.version}"
        return f"<thalweg.Model {self._table['learner']}: {seen}>"

    # What it does

    def learn(
        self, given: Any, y: Any = None, *, weights: Any = None, keys: Any = None, ids: Any = None, times: Any = None
    ) -> Model:
        """Predict, grade and learn rows, in order.

        Args:
            given: A table (pandas, polars, Arrow), columns by name, rows, or an array (N, F).
            y: Labels (N,), or the name of their column; None, NaN and NA are unlabelled.
            weights: (N,), or the name of a column; so are `keys`, `ids` and `times`.
            keys: Whose events they are.
            ids: Duplicates are recognised by id.
            times: Unix seconds or times.

        Returns:
            The model.

        Raises:
            FrameError: Something does not fit; then nothing was learned.
        """
        batch = self._batch(given, y, weights=weights, keys=keys, ids=ids, times=times)
        if len(batch):
            step = DecodedBlock(self._fold.version + 1, self._batch_events, (Decoded(batch),), {})
            if self._interrupted:
                raise FrameError(
                    "learning was interrupted, so the state is neither before nor after: load or begin anew"
                )
            self._interrupted = True
            with threadpool_limits(
                1
            ):  # as in a service: the same bits; and threads only wait for each other on few rows
                self._fold.apply(step)
            self._interrupted = False
        return self

    def predict(self, given: Any) -> Array:
        """Predictions (N,) or (N, K): class names, None where none is known; numbers, NaN where none is learned; or
        probabilities of a 1.
        """
        outputs, predictor = self._predict(given)
        answer = outputs[self.task.answer]
        if is_untaught(predictor):
            answer = np.full(answer.shape, np.nan)
        if predictor.outputs[self.task.answer].dtype == "bytes" or self.task.label == "class":
            names = np.array([*predictor.classes, None], dtype=object)
            return np.asarray(names[answer])
        return answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer

    def predict_proba(self, given: Any) -> Any:
        """Calibrated probabilities: a table like the given one with a column per class, an array (N, C) for an array.

        Raises:
            FrameError: It does not fit, or the model gives no probabilities.
        """
        given = table_of(given)
        outputs, predictor = self._predict(given)
        task = self.task
        if not task.probabilities or task.scores not in outputs:
            raise FrameError(f"a {self.config.learner} gives no probabilities here; its outputs: {', '.join(outputs)}")
        found = outputs[task.scores]
        if isinstance(given, np.ndarray):
            return found
        return table_like(given, dict(zip(predictor.classes, found.T)))

    def predict_all(self, given: Any) -> Mapping[str, Array]:
        """All outputs of the predictor by name, (N, ...) each; classes as codes into `classes`."""
        return self._predict(given)[0]

    def evaluate(self, given: Any, y: Any = None, **more: Any) -> Evaluation:
        """As `thalweg.evaluate`."""
        return evaluate(self, given, y, **more)

    def save(self, folder: str | Path) -> Saved:
        """Save a snapshot, from which `thalweg serve` and `thalweg.load` go on; the folder's name is the model's.

        Raises:
            FrameError: The folder belongs to a service.
            OSError: It cannot be written.
        """
        return save(self.config, self.fold, self.monitor, Path(folder))

    # Tables

    def batch(self, given: Any, y: Any = None, **more: Any) -> Batch:
        """The events of a table, as `learn` takes it."""
        return self._batch(given, y, **more)

    def _batch(self, given: Any, y: Any, **more: Any) -> Batch:
        given, label = table_of(given), _label_name(y)
        y = labels_of(Frame(given).column(y) if isinstance(y, str) else y)
        labels = None if y is None else plain_values(y, label or "y")
        if self._config is None:
            self._infer(given, labels, label)
        elif not self.learned and labels is not None and self._asks_for_a_task():
            check_classes_are_meant(labels)
        if label in self.config.columns:
            raise FrameError(f"column {label!r:.80}: it is the label, and also one of the model's columns")
        rest = {
            name: column_of(Frame(given).column(one) if isinstance(one, str) else one) for name, one in more.items()
        }
        return batch_of(self._schema, self._inputs(given, label), y, **rest)

    def _asks_for_a_task(self) -> bool:
        """Whether its learner can do both, classification and regression, and nobody said which."""
        kind = params_type(self._table["learner"])
        return kind is not None and "task" in kind.model_fields and "task" not in self._table.get("params", {})

    def _infer(self, given: Any, labels: list[Any] | None, label: str) -> None:
        if labels is not None and self._asks_for_a_task() and is_regression(labels):
            self._table["params"]["task"] = "regression"
        if isinstance(given, np.ndarray):
            if given.ndim < 2:
                raise FrameError(f"expected an array (N, F), got {given.shape}")
            self._begin(None, {"features": list(given.shape[1:])})
            return
        columns, self.left_out = columns_of(Frame(given), labels, label)
        self._begin(columns, None)

    def _inputs(self, given: Any, label: str = "") -> Inputs:
        if not self.schema.columns and label and not isinstance(given, np.ndarray | Mapping):
            frame = Frame(given)
            given = {name: frame.column(name) for name in frame.names if name != label}
            if set(given) != set(self._schema.inputs):
                return inputs_of(self._schema, table_like(frame.given, given))
        return inputs_of(self._schema, given)

    def _predict(self, given: Any) -> tuple[Mapping[str, Array], Predictor]:
        predictor, inputs = self.predictor, self._inputs(table_of(given))
        if validator := capability(predictor, InputValidator):
            validator.check(inputs)
        return predictor.predict(inputs), predictor


def _params_of_its_own(learner: str) -> set[str]:
    """Parameters of the learner that have the name of a key of the model: `classes`, the `weights` of its network."""
    if learner.startswith("sklearn:"):
        return {"classes"}
    try:
        kind = params_type(learner)
    except UnknownLearner:
        return set()
    return set() if kind is None else {"classes", "weights", "weights_strict"} & set(kind.model_fields)


def _label_name(y: Any) -> str:
    """The name of the label's column, if it is known."""
    if isinstance(y, str):
        return y
    name = getattr(y, "name", None)
    return name if isinstance(name, str) else ""


def _input(given: Any) -> Any:
    """An input as in a configuration; a width or a shape alone is of float32."""
    if isinstance(given, int):
        return {"shape": [given]}
    return {"shape": list(given)} if isinstance(given, list | tuple) else given


def evaluate(
    model: Model,
    given: Any,
    y: Any = None,
    *,
    go_on: bool = False,
    frozen_after: int | None = None,
    delay: int = 0,
    **more: Any,
) -> Evaluation:
    """Predict, grade and learn the rows of a table in order, with another model of the same settings.

    The given model is not changed.

    Args:
        model: The model.
        given: The table.
        y: Labels, or the name of their column.
        go_on: Begin with what the model has learned; else with nothing, so that rows that it has learned already are
            not graded by itself.
        frozen_after: Rows after which the frozen baseline stops learning; None: a tenth.
        delay: How many rows late labels become known.
        more: `weights`, `keys`, `ids`, `times`, as of `Model.learn`.

    Raises:
        FrameError: Something does not fit.
    """
    batch = model.batch(given, y, **more)
    learner = new_learner(model.config)
    if go_on:
        learner.restore(model.learner.state())
    return evaluated(model.config, learner, batch, frozen_after, model.learned if go_on else 0, delay)


def load(folder: str | Path, version: int | None = None, **settings: Any) -> Model:
    """A model as it was in a snapshot of a notebook or a service, under the settings in its manifest.

    Args:
        folder: The model's folder: `state_dir/NAME` of a service.
        version: None: the newest.
        settings: Keys of its `[[model]]` that do not determine its state, such as `batch_events`; `weights` of an
            encoder; `params` where a secret was masked.

    Raises:
        FrameError: There is no snapshot, it is damaged, or the settings do not lead to its state.
        UnknownVersion: There is no snapshot of this version; the message lists those that exist.
    """
    return Model.of(*opened(Path(folder), version, settings))
