"""The available versions of one model: the current one, and snapshots that callers request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from thalweg.memory.snapshots.snapshots import FolderSnapshots, UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile, State
from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.errors import DeadlineExceeded, FailedPrecondition, NotReady, QueueFull
from thalweg.proto.schema import InputError
from thalweg.stream.publication.ports import ServedVersion, VersionInfo, VersionSubscriber

MOST_WAITING = 8
"""Number of requests that may wait for a version at once."""
MOST_LOADING = 16
"""Number of requests that may wait for a snapshot to load at once."""
_OLD_VERSIONS = 4  # snapshots kept loaded for `as_of_version`
_WAIT_SECONDS = 1.0  # for `min_state_version` without a deadline …
_LONGEST_WAIT_SECONDS = 10.0  # … and with one


@dataclass(frozen=True, slots=True)
class Freshness:
    """The version that a caller demands; without either field, the current one."""

    at_least: int | None = None
    """This version or a later one, so that a caller sees its own writes."""
    as_of: int | None = None
    """Exactly this snapshot."""


CURRENT = Freshness()


def version_number(text: str, name: str) -> int:
    """Parse a version number. Raises InputError, which names the parameter."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"{name}: expected the version of a snapshot, got {text!r:.80}")
    return int(text)


class WaitSlots:
    """Limits how many requests wait for versions, over all models and interfaces; further ones are refused.

    Args:
        most_waiting: Limit for waiting for a version to arrive.
        waiting: Entered around each wait, on the waiting thread, so that another call may use it.
    """

    def __init__(
        self, most_waiting: int = MOST_WAITING, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._to_wait = threading.BoundedSemaphore(most_waiting)
        self._to_load = threading.BoundedSemaphore(MOST_LOADING)
        self._waiting = waiting

    def to_wait(self, refusal: str) -> AbstractContextManager[None]:
        """A slot to wait for a version to arrive. Raises QueueFull with this text on entry if none is free."""
        return self._slot(self._to_wait, refusal)

    def to_load(self, refusal: str) -> AbstractContextManager[None]:
        """The same for a snapshot to load."""
        return self._slot(self._to_load, refusal)

    @contextmanager
    def _slot(self, free: threading.Semaphore, refusal: str) -> Iterator[None]:
        if not free.acquire(blocking=False):
            raise QueueFull(refusal)
        try:
            with self._waiting():
                yield
        finally:
            free.release()


class Versions(Protocol):
    """The versions that answer under one name. Thread-safe."""

    @property
    def subscriber(self) -> VersionSubscriber:
        """Provides the current version, by the model's own numbers."""

    @property
    def snapshots(self) -> FolderSnapshots:
        """The snapshots, by the model's own numbers."""

    @property
    def newest(self) -> ServedVersion | None:
        """The current version; None before the first."""

    def current(self) -> ServedVersion:
        """The current version. Raises NotReady before the first."""

    def find(self, wanted: Freshness, patience_seconds: float | None = None) -> ServedVersion:
        """The demanded version; errors as of `ModelVersions.find`."""

    def ready(self, version: int | None = None) -> bool:
        """Whether this version (None: the current one) is available."""


class ModelVersions:
    """Finds the version for a request. Thread-safe.

    Args:
        name: The model's name, for messages.
        subscriber: Provides the current version.
        snapshots: The snapshots.
        restore: Makes the predictor of a learner's saved state. Raises ValueError for a state with other settings.
        slots: Limits the waiting requests.
    """

    def __init__(
        self,
        name: str,
        subscriber: VersionSubscriber,
        snapshots: FolderSnapshots,
        restore: Callable[[State], Predictor],
        slots: WaitSlots,
    ) -> None:
        self._subscriber, self._snapshots = subscriber, snapshots
        self._name, self._restore, self._slots = name, restore, slots
        self._loading = threading.Lock()  # one snapshot at a time
        self.problem: Callable[[], str] = str
        """Why its learner makes no further versions; empty if it does, or if nobody knows."""
        self.missing: Callable[[], str] = str
        """What else a first version waits for; empty: nothing that is known."""
        self.none_kept = ""
        """Why no version but the current one can be had; empty: snapshots can."""
        self._old: OrderedDict[int, ServedVersion] = OrderedDict()
        self._ordering = threading.Lock()  # guards `_old`; never held for long

    @property
    def subscriber(self) -> VersionSubscriber:
        """Provides the current version."""
        return self._subscriber

    @property
    def snapshots(self) -> FolderSnapshots:
        """The snapshots."""
        return self._snapshots

    @property
    def newest(self) -> ServedVersion | None:
        """The current version; None before the first."""
        return self._subscriber.current

    def current(self) -> ServedVersion:
        """The current version. Raises NotReady before the first."""
        served = self._subscriber.current
        if served is None:
            why = self.problem() or self.missing() or "its learner is starting or not running"
            raise NotReady(f"model {self._name!r}: no version is published yet; {why}")
        return served

    def find(self, wanted: Freshness, patience_seconds: float | None = None) -> ServedVersion:
        """The demanded version; waits at most `patience_seconds` (None: the default).

        Raises:
            NotReady: Nothing is published yet.
            UnknownVersion: There is no snapshot of the version.
            FailedPrecondition: It was made with other settings.
            DamagedFile: It cannot be read.
            DeadlineExceeded: It did not arrive in time.
            QueueFull: The maximum number of requests wait for versions or snapshots.
        """
        current = self.current()
        if wanted.as_of is not None:
            return self._kept(wanted.as_of, current)
        if wanted.at_least is not None and current.info.version < wanted.at_least:
            return self._wait(wanted.at_least, _WAIT_SECONDS if patience_seconds is None else patience_seconds)
        return current

    def ready(self, version: int | None = None) -> bool:
        """Whether this version (None: the current one) is available. Raises UnknownVersion if there is no snapshot
        of it.
        """
        try:
            self.find(CURRENT if version is None else Freshness(as_of=version))
        except (NotReady, FailedPrecondition, DamagedFile):
            return False
        return True

    def _wait(self, version: int, patience_seconds: float) -> ServedVersion:
        with self._slots.to_wait(f"model {self._name!r}: too many requests are waiting for versions; retry without"):
            served = self._subscriber.wait_for(version, min(patience_seconds, _LONGEST_WAIT_SECONDS))
        if served is None or served.info.version < version:
            got = "none" if served is None else served.info.version
            raise DeadlineExceeded(f"model {self._name!r}: waited for version {version}, got {got}")
        return served

    def _kept(self, version: int, current: ServedVersion) -> ServedVersion:
        if current.info.version == version:
            return current
        if served := self._loaded(version):
            return served
        if self.none_kept:
            raise UnknownVersion(
                f"model {self._name!r}: {self.none_kept}; expected {current.info.version}, got {version}"
            )
        with (
            self._slots.to_load(f"model {self._name!r}: too many requests are waiting for snapshots; retry later"),
            self._loading,  # loaded once, however many requests demand it
        ):
            served = self._loaded(version)
            if served is None:
                served = self._load(version)
                with self._ordering:
                    self._old[version] = served
                    while len(self._old) > _OLD_VERSIONS:
                        self._old.popitem(last=False)
        return served

    def _loaded(self, version: int) -> ServedVersion | None:
        with self._ordering:
            served = self._old.get(version)
            if served is not None:
                self._old.move_to_end(version)
            return served

    def _load(self, version: int) -> ServedVersion:
        kept = self._snapshots.load(version)
        manifest = kept.manifest
        try:
            predictor = self._restore(kept.parts["learner"])
        except ValueError as error:
            raise FailedPrecondition(
                f"model {self._name!r}: version {version} was made under other settings: {error}"
            ) from error
        info = VersionInfo(version, manifest.events_learned, 0.0, manifest.created, manifest.created, 0)
        return ServedVersion(predictor, info)
