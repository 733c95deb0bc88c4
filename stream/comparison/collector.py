"""Collects the losses of a fold's micro-batches until its block is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition, Position
from thalweg.proto.schema import Array
from thalweg.stream.comparison.block_losses import BY_ID, BlockLosses, place_name
from thalweg.stream.comparison.losses import EventLosses, LossName, LossOfEvents
from thalweg.stream.evaluation.gathered import TOGETHER, Gathered

log = structlog.get_logger(__name__)

_Number = TypeVar("_Number", bound=np.generic)


class Collector:
    """The losses of one model. Small micro-batches are graded together: sixty-four cost little more than one.

    A loss that cannot be computed ends the comparison of this model until the process is restarted, and nothing else.

    Args:
        model: The model's name, for the log.
        name: Which loss.
        joined_topic: The model's topic of events with late labels.
    """

    def __init__(self, model: str, name: LossName = "auto", joined_topic: str = "") -> None:
        self._model, self._joined_topic = model, joined_topic
        self._losses: LossOfEvents | None = LossOfEvents(name, joined_topic)
        self._gathered = Gathered()
        self._parts: list[EventLosses] = []

    def begin(self) -> None:
        """A block begins; what one that raised has left is forgotten."""
        self._gathered.clear()
        self._parts = []

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array] | None) -> None:
        """Predictions were made for a micro-batch that is learned next; None: they are still to be made. Does not
        raise.
        """
        if self._losses is None or batch.labels is None or batch.places is None:
            return
        try:
            made = outputs if outputs is not None else predict_batch(predictor, batch)
            if len(batch) >= TOGETHER or not self._gathered.fits(predictor, made):
                self._settle(self._losses)
            if len(batch) >= TOGETHER:
                self._add(self._losses.of(batch, predictor, made))
                return
            self._gathered.add(batch, predictor, made)
            if self._gathered.events >= TOGETHER:
                self._settle(self._losses)
        except Exception:  # a comparison must not cost the model its events
            self._give_up()

    def take(self, version: int, before: Position, end: Position, identity: Mapping[str, str]) -> BlockLosses | None:
        """The losses of the block that led to this version; None if they cannot be computed.

        Args:
            version: The version.
            before: The last offset per partition before the block.
            end: The same after it, of the partitions in the block.
            identity: By topic, the identity of its log.
        """
        try:
            if self._losses is not None:
                self._settle(self._losses)
        except Exception:
            self._give_up()
        parts, self._parts = self._parts, []
        if self._losses is None:
            return None
        names: dict[Partition, str] = {}

        def name(partition: Partition) -> str:
            mark = BY_ID if partition.topic == self._joined_topic else ""
            return names.setdefault(partition, mark + place_name(partition, identity.get(partition.topic, "")))

        spans = {name(partition): (before.get(partition, -1), last) for partition, last in end.items()}
        table: dict[str, int] = {}
        which = []
        for part in parts:
            codes = [table.setdefault(name(partition), len(table)) for partition in part.partitions]
            which.append(np.array(codes, dtype=np.int32)[part.which])
        return BlockLosses(
            version,
            spans,
            tuple(table),
            _joined(which, np.int32),
            _joined([part.offsets for part in parts], np.int64),
            _joined([part.losses for part in parts], np.float64),
            _joined([part.keys for part in parts], np.int64),
        )

    def _settle(self, losses: LossOfEvents) -> None:
        if (waiting := self._gathered.take()) is not None:
            self._add(losses.of(waiting.batch, waiting.answerer, waiting.outputs))

    def _add(self, losses: EventLosses | None) -> None:
        if losses is not None:
            self._parts.append(losses)

    def _give_up(self) -> None:
        log.exception("losses cannot be computed: compared no more", model=self._model)
        self._losses = None
        self.begin()


def _joined(parts: Sequence[NDArray[_Number]], kind: type[_Number]) -> NDArray[_Number]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)
