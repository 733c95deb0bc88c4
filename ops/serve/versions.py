"""The versions of one model that can answer: the current one, and kept ones that callers ask for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import DamagedFile, State
from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.errors import DeadlineExceeded, FailedPrecondition, NotReady, QueueFull
from thalweg.proto.schema import InputError
from thalweg.stream.publication.ports import ServedVersion, VersionInfo, VersionSubscriber

MOST_WAITING = 8
"""Callers who may wait for a version to come, at once."""
MOST_LOADING = 16
"""Callers who may wait at once for a snapshot to be loaded."""
_OLD_VERSIONS = 4  # kept loaded for `as_of_version`
_WAIT_SECONDS = 1.0  # for `min_state_version` of a caller without a deadline …
_LONGEST_WAIT_SECONDS = 10.0  # … and of one with


@dataclass(frozen=True, slots=True)
class Freshness:
    """Which version a caller wants to be answered by; without either, the current one."""

    at_least: int | None = None
    """This one or a later one: the caller sees its own writes."""
    as_of: int | None = None
    """Exactly this kept one."""


CURRENT = Freshness()


def version_number(text: str, name: str) -> int:
    """The version that a text names. Raises InputError, naming where it stood."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"{name}: expected the version of a snapshot, got {text!r:.80}")
    return int(text)


class WaitSlots:
    """Bounds how many requests wait for versions, of all models, whatever the wire; more are refused.

    Args:
        most_waiting: For a version to come.
        waiting: Entered around each wait, on the thread that waits, so that another call may have it meanwhile.
    """

    def __init__(
        self, most_waiting: int = MOST_WAITING, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._to_wait = threading.BoundedSemaphore(most_waiting)
        self._to_load = threading.BoundedSemaphore(MOST_LOADING)
        self._waiting = waiting

    def to_wait(self, refusal: str) -> AbstractContextManager[None]:
        """A slot for a wait for a version to come. Raises QueueFull with this text when entered and none is free."""
        return self._slot(self._to_wait, refusal)

    def to_load(self, refusal: str) -> AbstractContextManager[None]:
        """The same for a snapshot to be loaded."""
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


class ModelVersions:
    """Finds the version that answers a request. Any number of threads may call it at once.

    Args:
        name: Of the model, for messages.
        subscriber: Brings the current version.
        snapshots: The kept ones.
        restore: Makes the predictor of a learner's saved state. Raises ValueError for a state of other settings.
        slots: Bounds those who wait.
    """

    def __init__(
        self,
        name: str,
        subscriber: VersionSubscriber,
        snapshots: FolderSnapshots,
        restore: Callable[[State], Predictor],
        slots: WaitSlots,
    ) -> None:
        self.subscriber = subscriber
        self.snapshots = snapshots
        self._name, self._restore, self._slots = name, restore, slots
        self._loading = threading.Lock()  # one version at a time
        self._old: OrderedDict[int, ServedVersion] = OrderedDict()
        self._ordering = threading.Lock()  # of `_old`; never held for long

    @property
    def newest(self) -> ServedVersion | None:
        """The version that answers now; None before the first."""
        return self.subscriber.current

    def current(self) -> ServedVersion:
        """The version that answers now. Raises NotReady before the first."""
        served = self.subscriber.current
        if served is None:
            raise NotReady(f"model {self._name!r}: no version is published yet; its learner is starting or not running")
        return served

    def find(self, wanted: Freshness, patience_seconds: float | None = None) -> ServedVersion:
        """The version that a caller wants, who waits for so long at most (None: says nothing about it).

        Raises:
            NotReady: Nothing is published yet.
            UnknownVersion: The version is not kept.
            FailedPrecondition: It was made under other settings.
            DamagedFile: It cannot be read.
            DeadlineExceeded: It did not come in time.
            QueueFull: As many callers as may are waiting for versions to come, or to be loaded.
        """
        current = self.current()
        if wanted.as_of is not None:
            return self._kept(wanted.as_of, current)
        if wanted.at_least is not None and current.info.version < wanted.at_least:
            return self._wait(wanted.at_least, _WAIT_SECONDS if patience_seconds is None else patience_seconds)
        return current

    def ready(self, version: int | None = None) -> bool:
        """Whether this version (None: the current one) can answer. Raises UnknownVersion for one that is not kept."""
        try:
            self.find(CURRENT if version is None else Freshness(as_of=version))
        except (NotReady, FailedPrecondition, DamagedFile):
            return False
        return True

    def _wait(self, version: int, patience_seconds: float) -> ServedVersion:
        with self._slots.to_wait(
            f"model {self._name!r}: too many requests wait for versions to come; ask again without"
        ):
            served = self.subscriber.wait_for(version, min(patience_seconds, _LONGEST_WAIT_SECONDS))
        if served is None or served.info.version < version:
            got = "none" if served is None else served.info.version
            raise DeadlineExceeded(f"model {self._name!r}: waited for version {version}, got {got}")
        return served

    def _kept(self, version: int, current: ServedVersion) -> ServedVersion:
        if current.info.version == version:
            return current
        if served := self._loaded(version):
            return served
        with (
            self._slots.to_load(f"model {self._name!r}: too many requests are waiting for snapshots; retry later"),
            self._loading,  # once, however many ask for it at a time
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
        kept = self.snapshots.load(version)
        manifest = kept.manifest
        try:
            predictor = self._restore(kept.parts["learner"])
        except ValueError as error:
            raise FailedPrecondition(
                f"model {self._name!r}: version {version} was made under other settings: {error}"
            ) from error
        info = VersionInfo(version, manifest.events_learned, 0.0, manifest.created, manifest.created, 0)
        return ServedVersion(predictor, info)
