"""The labels of a model with `[model.scale]`: joined by one process at a time, whichever its group says."""

from __future__ import annotations

import threading
from collections.abc import Callable

from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import REFUSALS
from thalweg.ops.run.shards.owner import Shard
from thalweg.stream.health.registry import Health
from thalweg.stream.health.supervised import Part, Runs, SupervisedThread

OWNER = "labels_owner"
"""The component that takes part in the group."""
JOINING = ("joiner", "join_store")
"""The components of who joins."""
OF_LABELS = (OWNER, *JOINING)


def group_of_labels(model: ModelConfig) -> str:
    """The group whose member with the first partition joins the labels. It is on the topic of the events, as that of
    the labels may come later.
    """
    return f"thalweg.{model.name}.labels"


class RunningJoiner:
    """See `Shard`: the joiner of a model in a thread of its own that is restarted.

    Args:
        build: Makes a joiner, and runs it by its first argument; the second is set when it is to end.
        health: The joiner's.
        before: The joiner before it, for whose end it waits.
        ended: Called on its thread when it ends for good, with the error, or None after a return.
    """

    def __init__(
        self,
        build: Callable[[Callable[[Part], None], threading.Event], None],
        health: Health,
        before: Shard | None,
        ended: Callable[[BaseException | None], None],
    ) -> None:
        def after(run: Callable[[Part], None]) -> None:
            while before is not None and not before.join(0.1):
                health.waiting("what was joined here before still ends")
                if self._runs.stopping.is_set():
                    return
            build(run, self._runs.stopping)

        self._runs = Runs(after)
        self._thread = SupervisedThread(self._runs, health, f"joiner-{health.model}", hopeless=REFUSALS, ended=ended)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()
        self._runs.stop()

    def join(self, timeout_seconds: float | None = None) -> bool:
        return self._thread.join(timeout_seconds)
