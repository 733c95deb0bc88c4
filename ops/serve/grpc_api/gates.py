"""What bounds the calls of a gRPC server: each kind of call has slots of its own, so that no kind locks out another.

Every call has a thread from one pool while it lasts. Most threads sleep: they wait for a message, a slot or a learner.
The slots of predictions decide how many compute.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.byte_budget import ByteBudget
from thalweg.ops.serve.grpc_api.call_threads import CallThreads
from thalweg.ops.serve.grpc_api.half_open import MOST_HALF_OPEN, HalfOpenCalls
from thalweg.ops.serve.grpc_api.memory_growth import MemoryGrowth
from thalweg.ops.serve.grpc_api.open_streams import MOST_STREAMS, OpenStreams
from thalweg.ops.serve.versions import MOST_LOADING

_CONTROL = (4, 64)
"""Calls at once, and in the queue, that ask for health, readiness and metadata."""
_BLOCKING = (16, 64)
"""The same for calls that append to the log or read a folder."""
_LOADING = (MOST_LOADING + 4, 64)
"""The same for calls that may load a snapshot, of which most may not wait for one."""
_OPERATORS = (8, 8)
"""The same for calls that wait for a learner."""
_STREAMING_METHODS = 8  # an upper bound, for the number of threads


class Gates:
    """The bounds of one server.

    Args:
        predictions: Slots for predictions, from both interfaces.
        receive_seconds: Time for a request to arrive.
        queue: Predictions that may wait for a slot, for the number of threads.
        budget: Memory that all requests may hold; None: without a bound.
        growth: Of the memory, for half-sent messages; None: not looked at.
        refused: Called with the reason of each refusal.
    """

    def __init__(
        self,
        predictions: Admission,
        *,
        receive_seconds: float = 10.0,
        queue: int = 128,
        budget: ByteBudget | None = None,
        growth: MemoryGrowth | None = None,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.predictions = predictions
        self.budget = budget or ByteBudget(sys.maxsize)
        self.kinds = {
            "predictions": predictions,
            "control": Admission("calls for metadata", *_CONTROL, refused=lambda _: refused("control")),
            "blocking": Admission("calls that wait for a disk", *_BLOCKING, refused=lambda _: refused("blocking")),
            "loading": Admission("calls for metadata of snapshots", *_LOADING, refused=lambda _: refused("loading")),
            "operators": Admission("operators' calls", *_OPERATORS, refused=lambda _: refused("operators")),
        }
        self.half_open = HalfOpenCalls(receive_seconds, cancelled=refused, growth=growth)
        self._refused = refused
        self._most_threads = (
            2 * MOST_HALF_OPEN  # as many again for those that are about to be refused
            + 2 * (queue + 16)
            + sum(sum(sizes) for sizes in (_CONTROL, _BLOCKING, _LOADING, _OPERATORS))
            + _STREAMING_METHODS * (MOST_STREAMS + 8)
        )

    def streams(self, name: str) -> OpenStreams:
        """Slots for the streams of one method."""
        return OpenStreams(name, refused=lambda _: self._refused("streams"))

    def threads(self) -> CallThreads:
        """A new pool of threads, started as they are needed."""
        return CallThreads(self._most_threads, "grpc")
