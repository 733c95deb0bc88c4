"""Classes that appear late: often a mistyped label, which nobody would notice otherwise."""

from __future__ import annotations

import re

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, ClassLabels

log = structlog.get_logger(__name__)

_AFTER_EVENTS = 1000
_MOST = 20  # told per model and process
_MANY, _NEARLY_ALL = 50, 0.9
_DECIMAL = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?")


class NewClasses:
    """Logs each class whose first event comes after 1,000 others, at most 20 of them; or once that the classes are
    numbers with decimals, which are no names of classes. Not thread-safe.
    """

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._classes: tuple[str, ...] | None = None
        self._names: tuple[str, ...] | None = None
        self._fresh: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._told: set[str] = set()
        self._judged = _MANY  # classes from which on they are looked at again
        self._numbers = False

    def look(self, batch: Batch, predictor: Predictor, events: int) -> None:
        """Look at a batch before it is learned; `events`: those before it."""
        labels = batch.labels
        if len(predictor.classes) >= self._judged and isinstance(labels, ClassLabels):
            self._judge(predictor.classes)
        if self._numbers:
            return
        if events < _AFTER_EVENTS or len(self._told) >= _MOST or not isinstance(labels, ClassLabels):
            return
        classes = predictor.classes
        if classes is not self._classes or labels.names is not self._names:
            if classes is not self._classes:  # a learner keeps its tuple until there is another class
                self._classes, self._known = classes, frozenset(classes)
            self._names = labels.names  # micro-batches of a block share their names: few of them are in each
            self._fresh = self._unknown(labels.names)
        if not self._fresh.size:
            return
        rows = np.flatnonzero(np.isin(labels.codes, self._fresh))
        if not rows.size:
            return
        codes, firsts = np.unique(labels.codes[rows], return_index=True)
        for place in np.argsort(firsts)[: _MOST - len(self._told)].tolist():
            name, known = labels.names[codes[place]], len(self._known | self._told)
            self._told.add(name)
            log.warning(
                "a class appears that was never seen before; a mistyped label? `classes` says which there are",
                label=name[:80],
                known=known,
                events=events + int(rows[firsts[place]]),
                **({"next": "further ones are not logged"} if len(self._told) == _MOST else {}),
            )
        self._fresh = self._unknown(labels.names)

    def _unknown(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """The codes of the names that are neither known nor told."""
        return np.array(
            [code for code, name in enumerate(names) if name not in self._known and name not in self._told],
            dtype=np.int64,
        )

    def _judge(self, classes: tuple[str, ...]) -> None:
        """Whether they are numbers with decimals, each a class of its own."""
        self._judged = 2 * len(classes)
        decimals = [name for name in classes if _DECIMAL.fullmatch(name)]
        if len(decimals) >= _NEARLY_ALL * len(classes):
            self._numbers = True
            log.warning(
                "the labels are numbers with decimals, and each is a class of its own; for a regression set task",
                set='[model.params] task = "regression"',
                classes=len(classes),
                label=decimals[-1][:80],
            )
