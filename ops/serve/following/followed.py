"""What follows a model's versions on a server, as a served model uses it; and that of one learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.telemetry.freshness import Freshness, FreshnessWatch
from thalweg.proto.schema import Inputs
from thalweg.stream.health.registry import Health
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.ports import VersionInfo, VersionSubscriber
from thalweg.stream.traces.awaited import AwaitedAnswers
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.handed_on import HandedOn


class TrialRows(Protocol):
    """Takes rows that were answered, on which new versions are tried."""

    @property
    def wants_row(self) -> bool:
        """Whether a row should be offered."""

    def offer(self, inputs: Inputs) -> None:
        """Take the first row of valid inputs, (N, ...) each."""


class Awaited(Protocol):
    """The first answers that traces await, as `traces.awaited.AwaitedAnswers` has them."""

    @property
    def awaited(self) -> Sequence[HandedOn]:
        """Those; mostly empty."""

    def answered(self, version: int, request: TraceContext | None) -> None:
        """A request was answered by this version."""

    def close(self) -> None:
        """Release resources; may be called twice."""


class Followed(NamedTuple):
    """What follows the versions of one model."""

    subscriber: VersionSubscriber
    trial: TrialRows
    freshness: Freshness
    awaiting: Awaited | None
    """None: there are no traces."""
    missing: Callable[[], str] = str
    """What a first version waits for, beside its learner; empty: nothing that is known."""


def follow_learner(location: ModelLocation, clock: Callable[[], float], health: Health | None) -> Followed:
    """Of a model whose learner publishes its versions. `clock`: Unix seconds."""
    freshness = FreshnessWatch(location.live, location.state, location.freshness, location.server, clock)
    awaiting = None if location.spans is None else AwaitedAnswers(location.name, location.live, location.spans, clock)

    def mapped(info: VersionInfo) -> None:
        freshness.mapped(info)
        if awaiting is not None:
            awaiting.mapped(info)

    subscriber = FileSubscriber(location.live, location.build, health=health, mapped=mapped)
    return Followed(subscriber, subscriber.trial, freshness, awaiting)
