"""How many partitions a model's topic has: asked of the log in the background, and kept in a file beside the versions.

A server that cannot reach the log goes on with the number in the file. A number that has grown counts once every new
shard has a version, so that no key is sent to a shard that is not there; a smaller one only if the topic was replaced.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from thalweg.ops.serve.by_key.predictor import Partitions
from thalweg.proto.bounds.counted import counted
from thalweg.stream.publication.live_folder import make_model_folder

log = structlog.get_logger(__name__)

FILE = "partitions.json"
MOVED_SECONDS = 60.0
"""For so long health tells that keys have moved."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What the log says of a topic."""

    partitions: int
    """0: there is no topic yet."""
    identity: str | None = None
    """Tells it from one that was created anew; None: not known."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file says: the number in use, the one before it, and of which topic."""

    partitions: int
    before: int = 0
    identity: str | None = None


class PartitionCount:
    """The number of partitions by which keys are sent to shards. `look` is called by one thread, the rest by another.

    Args:
        model: The model's name, for messages.
        topic: The topic's name, for messages.
        ask: What the log says of the topic. Raises LogError.
        folder: The model's own folder in the live folder.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        model: str,
        topic: str,
        ask: Callable[[], Topic],
        folder: Path,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._topic, self._ask, self._ticks = model, topic, ask, ticks
        self._moved_at = -math.inf
        self._folder, self._path = folder, folder / FILE
        self._kept = self._read()
        self._asked: Topic | None = None
        self._told: Topic | None = None
        self._unwritten = False

    @property
    def in_use(self) -> Partitions | None:
        """The number that counts; None: it is not known yet."""
        return None if self._kept is None else Partitions(self._kept.partitions, self._kept.before)

    @property
    def watched(self) -> int:
        """How many shards are to be watched: those in use, and new ones that may be soon."""
        asked = 0 if self._asked is None else self._asked.partitions
        return max(asked, 0 if self._kept is None else self._kept.partitions)

    def look(self) -> None:
        """Ask the log. Raises LogError."""
        self._asked = self._ask()

    def settle(self, present: int) -> str:
        """Let a new number count if it may; called at intervals.

        Args:
            present: So many shards, from partition 0 on, have a version.

        Returns:
            What is to be told of the number; empty if there is nothing.
        """
        asked, kept = self._asked, self._kept
        if self._unwritten:
            self._write()
        if asked is None or not asked.partitions:
            return "" if kept is not None else f"the number of partitions of topic {self._topic!r} is not known yet"
        if kept is None:
            self._use(Kept(asked.partitions, identity=asked.identity))
            return ""
        if kept.identity is None and asked.identity is not None:
            self._use(replace(kept, identity=asked.identity))
            return ""
        if asked.identity != kept.identity and asked.identity is not None:
            self._tell("the topic of a model by key was created anew: its number of partitions counts", kept, asked)
            self._use(Kept(asked.partitions, identity=asked.identity))
            return ""
        if asked.partitions < kept.partitions:
            return (
                f"the log tells of {counted(asked.partitions, 'partition')} of topic {self._topic!r}, where there were "
                f"{kept.partitions}: keys are sent to shards by {kept.partitions}"
            )
        if asked.partitions == kept.partitions:
            return self._moved(kept) if self._ticks() - self._moved_at < MOVED_SECONDS else ""
        if present < asked.partitions:
            self._tell("the topic of a model by key has more partitions: waiting for the new shards", kept, asked)
            return (
                f"topic {self._topic!r} has {asked.partitions} partitions: keys are sent to shards by "
                f"{kept.partitions} until every new shard has a version"
            )
        self._told = None
        self._tell("keys of a model have moved: its topic has more partitions", kept, asked)
        self._use(now := Kept(asked.partitions, kept.partitions, asked.identity))
        self._moved_at = self._ticks()
        return self._moved(now)

    def _moved(self, kept: Kept) -> str:
        return (
            f"keys have moved: topic {self._topic!r} has {kept.partitions} partitions after {kept.before}; shards keep "
            "what they learned of keys that others answer now"
        )

    def _tell(self, what: str, kept: Kept, asked: Topic) -> None:
        """Once for each number."""
        if self._told != asked:
            self._told = asked
            log.warning(what, model=self._model, topic=self._topic, before=kept.partitions, partitions=asked.partitions)

    def _use(self, kept: Kept) -> None:
        self._kept = kept
        self._write()

    def _read(self) -> Kept | None:
        try:
            found = json.loads(self._path.read_bytes())
            kept = Kept(int(found["partitions"]), int(found["before"]), found["identity"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("the number of partitions cannot be read", file=str(self._path), problem=str(error))
            return None
        return kept if kept.partitions > 0 else None

    def _write(self) -> None:
        """For servers that start while the log is away; without it, this one goes on all the same."""
        assert self._kept is not None
        beside = self._path.with_name(f".{FILE}.{os.getpid()}.{threading.get_ident()}")
        try:
            make_model_folder(self._folder)
            beside.write_text(json.dumps(asdict(self._kept)), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            if not self._unwritten:
                log.warning("the number of partitions cannot be kept", file=str(self._path), problem=str(error))
            self._unwritten = True
        else:
            self._unwritten = False
