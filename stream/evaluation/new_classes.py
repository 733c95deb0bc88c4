"""Classes that appear late: often a mistyped label, which nobody would notice otherwise."""

from __future__ import annotations

import re

import structlog

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
        if classes is not self._classes:  # a learner keeps its tuple until there is another class
            self._classes, self._known = classes, frozenset(classes)
        elif labels.names is self._names:  # nor is there in these events: micro-batches of a block share their names
            return
        self._names = labels.names
        fresh = [name for name in labels.names if name not in self._known and name not in self._told]
        for name in fresh[: _MOST - len(self._told)]:
            self._told.add(name)
            log.warning(
                "a class appears that was never seen before; a mistyped label? `classes` says which there are",
                label=name[:80],
                known=len(self._known),
                events=events,
                **({"next": "further ones are not logged"} if len(self._told) == _MOST else {}),
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
