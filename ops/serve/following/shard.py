"""One shard of a model by key, as a server follows it; and the sums over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thalweg.ops.serve.by_key.keys import bare
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.telemetry.freshness import FreshnessWatch
from thalweg.proto.schema import Inputs
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.shards.names import shard_name
from thalweg.stream.traces.awaited import AwaitedAnswers
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.handed_on import HandedOn


class Shard:
    """Follows the versions of one shard; one thread calls its methods.

    Args:
        location: The model.
        partition: Which of its shards.
        clock: Unix seconds.
    """

    def __init__(self, location: ModelLocation, partition: int, clock: Callable[[], float]) -> None:
        live, state = location.live_of(partition), location.state_of(partition)
        self.name = shard_name(location.name, partition)
        self.freshness = FreshnessWatch(live, state, location.freshness, location.server, clock)
        self.awaiting = None if location.spans is None else AwaitedAnswers(self.name, live, location.spans, clock)
        self.subscriber = FileSubscriber(live, location.build, mapped=self._mapped)
        self._newest: VersionInfo | None = None

    def in_use(self) -> None:
        """Its newest version is in use from now on."""
        info, self._newest = self._newest, None
        if info is not None:
            self.freshness.mapped(info)
            if self.awaiting is not None:
                self.awaiting.mapped(info)

    def close(self) -> None:
        """Release resources."""
        self.subscriber.close()
        self.freshness.close()
        if self.awaiting is not None:
            self.awaiting.close()

    def _mapped(self, info: VersionInfo) -> None:
        self._newest = info


class ShardTrials:
    """Takes rows that were answered, for the trials of all shards: what one answers, each could."""

    def __init__(self, shards: Callable[[], Sequence[Shard]]) -> None:
        self._shards = shards
        self.wants_row = True

    def offer(self, inputs: Inputs) -> None:
        self.wants_row = False
        own = bare(inputs)
        for shard in self._shards():
            shard.subscriber.trial.offer(own)


class ShardFreshness:
    """The freshness of all shards together.

    Args:
        params: What is promised.
        shards: Those there are now.
    """

    def __init__(self, params: FreshnessParams, shards: Callable[[], Sequence[Shard]]) -> None:
        self.params, self._shards = params, shards

    def counted(self) -> tuple[tuple[list[int], float], int, tuple[list[int], float]]:
        found = [shard.freshness.counted() for shard in self._shards()]
        histogram, recent = _sums([one for one, _, _ in found]), _sums([one for _, _, one in found])
        return histogram, sum(missed for _, missed, _ in found), recent

    def budget_remaining(self) -> float | None:
        if not self.params.objective:
            return None
        spent = [shard.freshness.within_window() for shard in self._shards()]
        records, late = sum(one for one, _ in spent), sum(one for _, one in spent)
        return self.params.remaining(records, late)

    def close(self) -> None:
        """Nothing of its own: the shards are closed by who follows them."""


class ShardsAwaited:
    """The first answers that traces of any shard await: an answer of the model shows what each of them has learned."""

    def __init__(self, shards: Callable[[], Sequence[Shard]]) -> None:
        self._shards = shards

    @property
    def awaited(self) -> Sequence[HandedOn]:
        return [one for shard in self._shards() if shard.awaiting is not None for one in shard.awaiting.awaited]

    def answered(self, version: int, request: TraceContext | None) -> None:
        for shard in self._shards():
            served = shard.subscriber.current
            if served is not None and shard.awaiting is not None and shard.awaiting.awaited:
                shard.awaiting.answered(served.info.version, request)

    def close(self) -> None:
        """Nothing of its own."""


def _sums(parts: Sequence[tuple[list[int], float]]) -> tuple[list[int], float]:
    """Counts by bound, and a sum; who has counted nothing may have no bounds."""
    counts = [list(one) for one, _ in parts if len(one)]
    return [sum(column) for column in zip(*counts)], sum(total for _, total in parts)
