"""An estimator of scikit-learn as a learner, as it is: `sklearn:sklearn.linear_model.SGDClassifier`.

Source: Pedregosa et al., "Scikit-learn: Machine Learning in Python", JMLR 12 (2011). The estimator learns each
micro-batch by its own `partial_fit`; what is added is its state, walked (`walk.py`). Differences: classes are names,
whose numbers follow from the parameter `classes`; a clusterer begins once there are as many events as clusters; events
that are not finite are skipped. Cost: that of the estimator. State: all objects of the estimator, as JSON, and its
arrays.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.software import version_of
from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.frozen import Held, Lent
from thalweg.models.adapters.imports import imported, made
from thalweg.models.adapters.rebuild import rebuild
from thalweg.models.adapters.sklearn_predictor import FAR, SklearnKind, SklearnPredictor
from thalweg.models.adapters.walk import walk
from thalweg.models.contract.gauges import CLASSES, SKIPPED_EVENTS, GaugeSpec, GaugeValue
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents
from thalweg.models.parts.input_columns import InputColumns
from thalweg.proto.columns import class_name
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Array, InputError, Schema

log = structlog.get_logger(__name__)

_TRIAL_EVENTS = 4
WAITING = "waiting"
"""The tensor of the events that wait until a clusterer can begin, (M, F)."""


class SklearnFactory:
    """Makes learners of the estimator at an import path; `find("sklearn:PATH")` returns one."""

    gauges_declared: Sequence[GaugeSpec] = (CLASSES, SKIPPED_EVENTS, EXCESS_EVENTS)
    state_version, state_revision = 1, 1

    def __init__(self, path: str) -> None:
        """For a class, a factory function or an object at `path`.

        Raises:
            UnknownLearner: It is not there, or cannot be imported.
        """
        self.name = f"sklearn:{path}"
        self.target = imported(self.name, path)
        self.allowed = Allowed(["sklearn", path.partition(".")[0]])
        # a user's own factory may want to know the classes, too; no estimator has such a parameter
        self._takes_classes = inspect.isfunction(self.target) and "classes" in inspect.signature(self.target).parameters

    def __call__(self, context: LearnerContext) -> SklearnLearner:
        return SklearnLearner(self, context)

    def predictor_from(self, state: State) -> SklearnPredictor:
        return SklearnPredictor.of(self.name, self.allowed, state)

    def new(self, params: Mapping[str, Any], seed: int) -> Any:
        """A new estimator; every part of it without a `random_state` of its own gets the seed. Raises as `made`."""
        own = params if self._takes_classes else {key: one for key, one in params.items() if key != "classes"}
        estimator = made(self.name, self.target, own, seed, "random_state")
        estimator = rebuild(walk(estimator, self.allowed), self.allowed)
        if hasattr(estimator, "get_params"):
            unseeded = [
                key
                for key, value in estimator.get_params().items()
                if value is None and key.rpartition("__")[2] == "random_state"
            ]
            estimator.set_params(**dict.fromkeys(unseeded, seed))
        return estimator


class SklearnLearner:
    """Any estimator with `partial_fit`; contract in `models/contract/learner.py`.

    Skips events without a label, unless it is a clusterer; with a weight that is not positive; with numbers that are
    not finite, or beyond 1e30; and of classes that `classes` does not name. The last two are counted.
    """

    gauges_declared = SklearnFactory.gauges_declared

    def __init__(self, factory: SklearnFactory, context: LearnerContext) -> None:
        self._factory = factory
        self._columns = InputColumns(context.inputs)
        self._params, self._seed = dict(context.params), context.seed
        try:
            estimator = factory.new(self._params, self._seed)
            self._kind = _kind(estimator)
        except ParamsError:
            raise
        except ValueError as error:
            raise ValueError(f"{factory.name}: {error}") from error
        self._names = self._named_classes()
        self._classes = {name: code for code, name in enumerate(self._names)}
        self._lent: Lent[SklearnPredictor] = Lent(factory.allowed, estimator)
        self._excess = ExcessEvents("classes", len(self._names))
        self._waiting = np.zeros((0, self._columns.width))
        self._events = self._skipped = 0
        self._try()

    @property
    def schema(self) -> Schema:
        return Schema(self._columns.specs, self._kind.label, classes=self._names)

    def _named_classes(self) -> tuple[str, ...]:
        given = self._params.get("classes")
        if self._kind.kind != "classifier":
            if given is not None:
                raise ParamsError({"classes": f"no such key: the estimator is a {self._kind.kind}"})
            return ()
        if given is None:
            raise ParamsError(
                {"classes": "missing; scikit-learn needs the names of all classes before the first event"}
            )
        try:  # as labels are: true is `true`, 1 and 1.0 are `1`
            names = tuple(map(class_name, given)) if isinstance(given, (list, tuple)) else ()
        except Refused:
            names = ()
        if len(names) < 2 or len(set(names)) < len(names) or "" in names:
            raise ParamsError({"classes": f"expected at least two different names, got {given!r:.200}"})
        return names

    def _try(self) -> None:
        """Learn a few made-up events with a copy. Raises ValueError if the estimator then cannot be stored."""
        copy = rebuild(self._lent.state(), self._factory.allowed)
        draw = np.random.default_rng(0)
        count = max(_TRIAL_EVENTS, self._kind.first)
        x = draw.standard_normal((count, self._columns.width))
        try:
            with np.errstate(all="ignore"):
                _partial_fit(copy, self._kind, x, np.arange(count) % 2, None, len(self._names))
        except (
            Exception
        ):  # made-up events need not suit it, and real ones that it cannot learn are found when they come
            return
        try:
            walk(copy, self._factory.allowed)
        except ValueError as error:
            raise ValueError(f"{self._factory.name}: {error}") from error

    def learn(self, batch: Batch) -> None:
        rows = self._columns.gather(batch.inputs).astype(np.float64)
        labels = batch.labels
        expected = ClassLabels if self._kind.label == "class" else NumberLabels
        if labels is not None and not isinstance(labels, expected):
            raise InputError(f"labels: expected {self._kind.label}, got {type(labels).__name__}")
        if isinstance(labels, NumberLabels) and labels.values.shape[1] != 1:
            raise InputError(f"labels: expected (N, 1), got {labels.values.shape}")
        keep = (batch.weights > 0) & (batch.weights < 1e100)
        if self._kind.kind != "clusterer":
            keep &= np.zeros(len(batch), bool) if labels is None else labels.present
        wanted = int(keep.sum())
        with np.errstate(invalid="ignore"):
            keep &= (np.abs(rows) < FAR).all(axis=1)
            targets = self._targets(labels, keep)
        self._skipped += wanted - int(keep.sum())
        if not keep.any():
            return
        x, weights = rows[keep], batch.weights[keep]
        self._events += len(x)
        if self._kind.first > 1 and len(self._waiting) < self._kind.first:
            self._waiting = np.concatenate([self._waiting, x])
            if len(self._waiting) < self._kind.first:
                self._lent.to_change()
                return
            x, weights = self._waiting, np.ones(len(self._waiting))
        weighted = self._kind.weighted and not (weights == 1.0).all()
        y = None if targets is None else targets[keep]
        classes = len(self._names)
        with np.errstate(all="ignore"):
            _partial_fit(self._lent.to_change(), self._kind, x, y, weights if weighted else None, classes)

    def _targets(self, labels: Any, keep: NDArray[np.bool_]) -> Array | None:
        """The label of each event as the estimator takes it; events that it cannot take are removed from `keep`."""
        if labels is None or self._kind.kind == "clusterer":
            return None
        if isinstance(labels, NumberLabels):
            keep &= np.abs(labels.values[:, 0]) < FAR
            return labels.values[:, 0]
        codes = labels.recoded(self._classes)
        beyond = keep & (codes < 0)
        if beyond.any():
            self._excess.add(int(beyond.sum()), labels.names[labels.codes[int(np.argmax(beyond))]])
            keep &= ~beyond
        return np.asarray(codes)

    # Predictions

    def predictor(self) -> SklearnPredictor:
        return self._lent.predictor(self._made_predictor)

    def _made_predictor(self, held: Held) -> SklearnPredictor:
        names = self._names
        if self._kind.kind == "clusterer":
            names = tuple(map(str, range(getattr(self._lent.estimator, "n_clusters", 0) or 1)))
        begun = self._events if self._kind.first == 1 or len(self._waiting) >= self._kind.first else 0
        return SklearnPredictor(self._factory.name, self._kind, self._columns, held, names, begun)

    # State

    def state(self) -> State:
        meta = {
            "identity": self._identity(),
            "sklearn": version_of("scikit-learn", "sklearn"),
            "events": self._events,
            "skipped": self._skipped,
            **self._excess.meta(),
        }
        return State({**self._lent.state().tensors, WAITING: self._waiting}, meta)

    def restore(self, state: State) -> None:
        meta = state.meta
        if meta.get("identity") != self._identity():
            raise ValueError(f"the state was made under other parameters: {meta.get('identity')}")
        if meta["sklearn"] != version_of("scikit-learn", "sklearn"):
            now = version_of("scikit-learn", "sklearn")
            log.warning("the state was made by another version of scikit-learn", was=meta["sklearn"], now=now)
        self._lent.restore(state)
        self._waiting = np.array(state.tensors[WAITING])
        self._events, self._skipped = meta["events"], meta["skipped"]
        self._excess.restore(meta)

    def gauges(self) -> Mapping[str, GaugeValue]:
        gauges = {"skipped_events": float(self._skipped)}
        if self._kind.kind == "classifier":
            gauges |= {"classes": float(len(self._names)), "excess_class_events": float(self._excess.events)}
        return gauges

    def _identity(self) -> dict[str, Any]:
        inputs = [[spec.name, spec.dtype, list(spec.shape)] for spec in self._columns.specs.values()]
        return {"learner": self._factory.name, "params": self._params, "inputs": inputs, "seed": self._seed}


def _kind(estimator: Any) -> SklearnKind:
    """That of an estimator. Raises ValueError if it cannot learn step by step, or does not predict."""
    from sklearn.base import is_classifier, is_clusterer, is_regressor

    name = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    if not hasattr(estimator, "partial_fit"):
        raise ValueError(f"expected an estimator with partial_fit, got a {name}")
    weighted = "sample_weight" in inspect.signature(estimator.partial_fit).parameters
    if is_classifier(estimator):
        methods = [name for name in ("predict_proba", "decision_function") if hasattr(estimator, name)]
        return SklearnKind(kind="classifier", scores=methods[0] if methods else "", weighted=weighted)  # type: ignore[arg-type]
    if is_regressor(estimator):
        return SklearnKind(kind="regressor", weighted=weighted)
    if is_clusterer(estimator):
        first = getattr(estimator, "n_clusters", 1)
        return SklearnKind(kind="clusterer", first=first if isinstance(first, int) else 1, weighted=weighted)
    raise ValueError(f"expected a classifier, a regressor or a clusterer of scikit-learn, got a {name}")


def _partial_fit(
    estimator: Any, kind: SklearnKind, x: Array, y: Array | None, weights: Array | None, classes: int
) -> None:
    more: dict[str, Any] = {} if weights is None else {"sample_weight": weights}
    if kind.kind == "classifier":
        more["classes"] = np.arange(classes)
    if kind.kind == "clusterer":
        estimator.partial_fit(x, **more)
    else:
        estimator.partial_fit(x, y, **more)
