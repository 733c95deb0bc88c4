"""What a process needs once, done while it waits for its group: the first shard that it is assigned is waited for."""

from __future__ import annotations

import threading
from contextlib import suppress

from thalweg.memory.objects.objects import Objects, ObjectsUnavailable, ObjectsUnusable
from thalweg.models.contract.revisions import learning_software
from thalweg.ops.config.model import ModelConfig
from thalweg.stream.log.log import Log, LogError


def begin(model: ModelConfig, source: Log, objects: Objects | None) -> None:
    """Load the learner's code and hash it, connect to the log, and find out what the store can do, on a thread of its
    own. Whatever fails is told by the shard that needs it.
    """

    def run() -> None:
        learning_software(model.learner)
        with suppress(LogError):
            source.cluster()
        if objects is not None:
            with suppress(ObjectsUnavailable, ObjectsUnusable):
                objects.check()

    with suppress(RuntimeError):  # no further thread can be started: it is done when it is needed
        threading.Thread(target=run, name=f"beforehand-{model.name}", daemon=True).start()
