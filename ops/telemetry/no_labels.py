"""A model that learns from labels and gets none: often the label has another name in its records."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from thalweg.models.contract.learner import Learner
from thalweg.proto.records import Partition
from thalweg.proto.rows.fields import usual_mapping
from thalweg.proto.schema import Schema
from thalweg.proto.task import ADAPTATION
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.outcome import Outcome

log = structlog.get_logger(__name__)

AFTER_EVENTS = 1000


def label_watch(model: str, schema: Schema, learner: Learner, labels_topic: str) -> list[NoLabels]:
    """Who watches a model that is to have its labels with its events; none for another."""
    where = (schema.fields or usual_mapping(schema.columns.values())).label
    learns = schema.label != "none" and learner.predictor().task.name != ADAPTATION.name
    return [NoLabels(model, where)] if learns and where and not labels_topic else []


class NoLabels(NoObserver):
    """Logs once that the first 1,000 events of this process had no label.

    Args:
        model: Its name.
        where: Where its records have their label.
    """

    def __init__(self, model: str, where: str) -> None:
        self._model, self._where = model, where
        self._events = 0
        self._done = False

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        self._events += outcome.events
        if outcome.labelled or outcome.learned:
            self._done = True
        if self._done or self._events < AFTER_EVENTS:
            return
        self._done = True
        log.warning(
            "no event has a label: has it another name in the records? `label` of [model.fields] says where it stands",
            model=self._model,
            events=self._events,
            looked_for=self._where,
        )
