"""An estimator of River as a learner, as it is: `river:river.tree.HoeffdingTreeClassifier`.

Source: Montiel et al., "River: machine learning for streaming data in Python", JMLR 22 (2021). The estimator learns and
predicts one event at a time, with its own methods and nothing else; what is added is its state, walked (`walk.py`).
Differences: a classifier of two classes gets False and True for their names; probabilities are divided by their sum;
events that are not finite are skipped. Cost: that of the estimator, and a dictionary per event. State: all objects of
the estimator, as JSON, and its arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.software import version_of
from thalweg.models.adapters import river_fixes
from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.frozen import Held, Lent
from thalweg.models.adapters.imports import imported, made
from thalweg.models.adapters.river_kinds import clusters
from thalweg.models.adapters.river_predictor import Learned, RiverPredictor
from thalweg.models.adapters.river_trial import tried, unsuited_texts
from thalweg.models.adapters.rows import FAR, Row, Rows
from thalweg.models.adapters.walk import objects
from thalweg.models.contract.gauges import CLASSES, SKIPPED_EVENTS, GaugeSpec, GaugeValue
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents, add_classes
from thalweg.proto.event import Batch, ClassLabels, Labels, NumberLabels
from thalweg.proto.schema import InputError, Schema

log = structlog.get_logger(__name__)

MAX_CLASSES = 1000
_TOLD: set[tuple[str, str]] = set()
"""What was told of an estimator and its columns: learners are made several times in a process."""


class RiverFactory:
    """Makes learners of the estimator at an import path; `find("river:PATH")` returns one."""

    takes_columns = True
    gauges_declared: Sequence[GaugeSpec] = (CLASSES, SKIPPED_EVENTS, EXCESS_EVENTS)
    state_version, state_revision = 1, 1

    def __init__(self, path: str) -> None:
        """For a class, a factory function or an object at `path`.

        Raises:
            UnknownLearner: It is not there, or cannot be imported.
        """
        river_fixes.apply()
        self.name = f"river:{path}"
        self.target = imported(self.name, path)
        self.allowed = Allowed(["river", path.partition(".")[0]])

    def __call__(self, context: LearnerContext) -> RiverLearner:
        return RiverLearner(self, context)

    def predictor_from(self, state: State) -> RiverPredictor:
        return RiverPredictor.of(self.name, self.allowed, state)

    def new(self, params: Mapping[str, Any], seed: int) -> Any:
        """A new estimator, or the object at the path itself; raises as `made`."""
        return made(self.name, self.target, params, seed, "seed")


_IMPUTERS = ("StatImputer", "PreviousImputer")  # they look for None, and raise where a feature has no entry


class RiverLearner:
    """Any estimator of River; contract in `models/contract/learner.py`.

    Skips events without a label, unless it learns without; with a weight that is not positive; with numbers that are
    not finite, or beyond 1e30; and of classes beyond the 1000th, or the second of a binary classifier. The last two are
    counted.
    """

    gauges_declared = RiverFactory.gauges_declared

    def __init__(self, factory: RiverFactory, context: LearnerContext) -> None:
        self._factory = factory
        lists = [name for name, one in context.columns.items() if one.kind == "list" and one.dtype == "bytes"]
        self._rows = Rows(context.inputs, lists)
        self._rows.keeps = True
        self._named = context.columns
        self._params, self._seed = dict(context.params), context.seed
        estimator, self._kind = tried(
            factory.name, lambda: factory.new(self._params, self._seed), factory.allowed, self._rows, self._seed
        )
        self._texts = unsuited_texts(estimator, self._kind, factory.allowed, self._rows)
        if self._texts and (factory.name, self._texts) not in _TOLD:
            _TOLD.add((factory.name, self._texts))
            log.warning(f"{factory.name}: {self._texts}")
        self._rows.blanks = any(type(part).__name__ in _IMPUTERS for part in objects(estimator, factory.allowed))
        self._lent: Lent[RiverPredictor] = Lent(factory.allowed, estimator)
        self._classes: dict[str, int] = {}  # by name, in order of first appearance: columns never move
        self._truths: list[bool] = []
        self._most = 2 if self._kind.binary else MAX_CLASSES
        self._excess = ExcessEvents("the number of classes of the estimator", self._most)
        self._unseen = set(self._rows.keys) if self._rows.may_miss else set()
        self._events = self._skipped = 0

    @property
    def schema(self) -> Schema:
        return Schema(self._rows.specs, self._kind.label, columns=self._named)

    def learn(self, batch: Batch) -> None:
        rows, usable = self._rows.taken(batch.inputs)
        self._check(batch)
        keep = (batch.weights > 0) & (batch.weights < 1e100)
        if self._kind.supervised:
            keep &= np.zeros(len(batch), bool) if batch.labels is None else batch.labels.present
        wanted = int(keep.sum())
        if usable is not None:
            keep &= usable
        targets = self._targets(batch.labels, keep) if self._kind.supervised and batch.labels is not None else None
        places: list[int] = np.flatnonzero(keep).tolist()
        self._skipped += wanted - len(places)
        if places:
            weighted = self._kind.weighted and not (batch.weights == 1.0).all()
            self._learn(rows, places, targets, batch.weights.tolist() if weighted else None)

    def _learn(
        self, rows: list[Row], places: list[int], targets: list[Any] | None, weights: list[float] | None
    ) -> None:
        learn_one = self._lent.to_change().learn_one
        try:
            for place in places:
                row = rows[place]
                if self._unseen:
                    self._unseen.difference_update(row)
                if targets is None:
                    learn_one(row)
                elif weights is None:
                    learn_one(row, targets[place])
                else:
                    learn_one(row, targets[place], w=weights[place])
        except Exception as error:
            if not self._texts:
                raise
            raise ValueError(f"{error}; {self._texts}") from error
        self._events += len(places)

    def _check(self, batch: Batch) -> None:
        labels = batch.labels
        expected = ClassLabels if self._kind.label == "class" else NumberLabels
        if labels is not None and not isinstance(labels, expected):
            raise InputError(f"labels: expected {self._kind.label}, got {type(labels).__name__}")
        if isinstance(labels, NumberLabels) and labels.values.shape[1] != 1:
            raise InputError(f"labels: expected (N, 1), got {labels.values.shape}")

    def _targets(self, labels: Labels, keep: NDArray[np.bool_]) -> list[Any]:
        """The label of each event as the estimator takes it; events that it cannot take are removed from `keep`."""
        if isinstance(labels, NumberLabels):
            with np.errstate(invalid="ignore"):
                keep &= np.abs(labels.values[:, 0]) < FAR
            values: list[Any] = labels.values[:, 0].tolist()
            return values
        if not all(name in self._classes for name in labels.names):
            used, first = np.unique(labels.codes[keep], return_index=True)
            add_classes(self._classes, [labels.names[code] for code in used[np.argsort(first)].tolist()], self._most)
        codes = labels.recoded(self._classes)
        beyond = keep & (codes < 0)
        if beyond.any():
            self._excess.add(int(beyond.sum()), labels.names[labels.codes[int(np.argmax(beyond))]])
            keep &= ~beyond
        names: list[Any] = list(self._classes)
        if self._kind.binary:
            names = self._truths = truths(names)
        told = [*names, None]  # None where the code is -1
        return [told[code] for code in codes.tolist()]

    # Predictions

    def predictor(self) -> RiverPredictor:
        return self._lent.predictor(self._made_predictor)

    def _made_predictor(self, held: Held) -> RiverPredictor:
        names = tuple(self._classes)
        if self._kind.kind == "clusterer" and self._events:
            names = tuple(map(str, range(clusters(self._lent.estimator))))
        learned = Learned(
            events=self._events,
            classes=names,
            truths=tuple(self._truths),
            unseen=frozenset(self._unseen),
        )
        return RiverPredictor(self._factory.name, self._kind, self._rows, held, learned)

    # State

    def state(self) -> State:
        meta = {
            "identity": self._identity(),
            "river": version_of("river"),
            "classes": list(self._classes),
            "unseen": sorted(self._unseen),
            "events": self._events,
            "skipped": self._skipped,
            **self._excess.meta(),
        }
        return State(self._lent.state().tensors, meta)

    def restore(self, state: State) -> None:
        meta = state.meta
        if meta.get("identity") != self._identity():
            raise ValueError(f"the state was made under other parameters: {meta.get('identity')}")
        if meta["river"] != version_of("river"):
            log.warning("the state was made by another version of River", was=meta["river"], now=version_of("river"))
        self._lent.restore(state)
        self._classes = {name: code for code, name in enumerate(meta["classes"])}
        self._truths = truths(meta["classes"]) if self._kind.binary else []
        self._unseen = set(meta["unseen"])
        self._events, self._skipped = meta["events"], meta["skipped"]
        self._excess.restore(meta)

    def gauges(self) -> Mapping[str, GaugeValue]:
        gauges = {"skipped_events": float(self._skipped)}
        if self._kind.kind == "classifier":
            gauges |= {"classes": float(len(self._classes)), "excess_class_events": float(self._excess.events)}
        return gauges

    def _identity(self) -> dict[str, Any]:
        inputs = [[spec.name, spec.dtype, list(spec.shape)] for spec in self._rows.specs.values()]
        return {"learner": self._factory.name, "params": self._params, "inputs": inputs, "seed": self._seed}


def truths(names: Sequence[str]) -> list[bool]:
    """Which of at most two classes is True: the first if it is called so, or 1; otherwise the second to appear."""
    first = [name.lower() in ("true", "1") for name in names[:1]]
    return [*first, not first[0]][: len(names)] if first else []
