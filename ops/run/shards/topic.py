"""Which partitions a model's topic has: asked of the log in the background, so that who wants to know never waits."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from thalweg.proto.records import Partition
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import Health
from thalweg.stream.log.log import LogError

log = structlog.get_logger(__name__)


class TopicPartitions:
    """The partitions of a topic, as the log said last. `numbers`, `missing` and `problem` may be read from any thread,
    and often.

    Args:
        model: The model's name, for messages.
        topic: The topic's name.
        bounds: The partitions of a topic, as `Log.bounds`. Raises LogError; what was known stays so.
    """

    def __init__(self, model: str, topic: str, bounds: Callable[[str], Collection[Partition]]) -> None:
        self.topic, self._model = topic, model
        self._bounds = bounds
        self._numbers: tuple[int, ...] | None = None
        self.problem = ""
        """Why the log does not say; empty while it does, or was not asked yet."""
        # in no registry: that the log is away is told by those that read it, and by `Shards` while nobody reads
        self._probe = Probe(f"the topic of model {model!r}", self.look, Health("partitions", model))

    @property
    def missing(self) -> bool:
        """Whether the log said last that there is no such topic; False while it has said nothing."""
        return self._numbers == ()

    def numbers(self) -> tuple[int, ...]:
        """The partitions, in order; () where none is known."""
        return self._numbers or ()

    def start(self) -> None:
        """Start to ask."""
        self._probe.start()

    def close(self) -> None:
        """Stop asking; an answer that is still awaited is not."""
        self._probe.close()

    def look(self) -> None:
        """Ask once. Raises LogError."""
        before = self._numbers
        try:
            found = self._bounds(self.topic)
        except LogError as error:
            self.problem = str(error)
            raise
        self._numbers, self.problem = tuple(sorted(partition.number for partition in found)), ""
        if self.missing and before != ():
            log.warning(
                "a topic does not exist (or has no partitions): nothing of it is learned before it does",
                model=self._model,
                topic=self.topic,
            )
        elif before == () and not self.missing:
            log.info("a topic that was missing is there", model=self._model, topic=self.topic)
