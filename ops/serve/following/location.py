"""What a server must know of a model to follow its versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.by_key.partitions import Topic
from thalweg.proto.bounds.limits import MAX_FUTURE_SECONDS
from thalweg.proto.schema import Schema
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.shards.names import shard_name
from thalweg.stream.traces.spans import Spans


@dataclass(frozen=True, kw_only=True)
class ByKey:
    """A model each of whose shards answers for the keys of its partition."""

    topic: Callable[[], Topic]
    """Asks the log for the topic. Raises LogError; may block."""
    without_key: Literal["refuse", "mean"] = "refuse"
    """What becomes of a row without a key."""


@dataclass(frozen=True, kw_only=True)
class ModelLocation:
    """Where a model's files are, and the schema of its events."""

    name: str
    learner: str
    topic: str
    live: Path
    """Folder of the published versions; those of shards are beside it."""
    state: Path
    """Folder of the snapshots; those of shards are beside it."""
    schema: Schema
    labels_topic: str = ""
    """Topic of late labels; empty: none."""
    max_future_seconds: float = MAX_FUTURE_SECONDS
    """How far an event may be dated ahead, as for the learner."""
    ready_after_events: int = 0
    """A version that has learned fewer labelled events gives no answer."""
    learn_from_requests: bool = False
    """Requests become unlabelled events of the topic."""
    freshness: FreshnessParams = field(default_factory=FreshnessParams)
    """What is promised about its freshness."""
    server: int = 1
    """Which of the servers this one is, from 1."""
    spans: Spans | None = None
    """Records traces; None: there are none."""
    by_key: ByKey | None = None
    """Its shards answer, each for its keys; None: one learner's versions do."""
    build: Callable[[State], Predictor]
    """Makes the predictor of a published state."""
    restore: Callable[[State], Predictor]
    """Makes the predictor of a learner's saved state."""

    def live_of(self, partition: int) -> Path:
        """The folder of the published versions of a shard."""
        return self.live.with_name(shard_name(self.name, partition))

    def state_of(self, partition: int) -> Path:
        """The folder of the snapshots of a shard."""
        return self.state.with_name(shard_name(self.name, partition))
