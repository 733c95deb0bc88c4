"""Saves snapshots in a separate thread, so that learning continues while the disk works."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import structlog

from thalweg.memory.kept_folders import is_away
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import Snapshots
from thalweg.memory.snapshots.state import State
from thalweg.proto.schema import Array
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.journal import Journal
from thalweg.stream.learn.observer import Observer
from thalweg.stream.runtime import REAL, BackgroundTask, Runtime

log = structlog.get_logger(__name__)

_LARGE_BYTES = 1 << 20
_SHARE = 0.1  # maximum share of the time for saving: a fast stream would otherwise do little else


class Saver:
    """Saves one snapshot at a time. All methods are called by the learner's thread."""

    def __init__(
        self,
        snapshots: Snapshots,
        journal: Journal,
        observer: Observer,
        runtime: Runtime = REAL,
        health: Health | None = None,
    ) -> None:
        self._runtime = runtime
        self._snapshots = snapshots
        self._journal = journal
        self._observer = observer
        self._thread: BackgroundTask | None = None
        self._error: OSError | None = None
        self._away = False
        self._cut: tuple[int, int] | None = None
        self._not_before = 0.0
        self._between: int | None = None
        self.took_seconds = 0.0
        """How long the last save took."""
        self.version = -1
        """The newest version that is saved or being saved."""
        self._saved = -1
        self._copies: dict[tuple[str, str], Array] = {}
        self._health = health or Health("saver")
        self._health.running()

    def found(self, version: int) -> None:
        """Note that this version is already on disk."""
        self.version = self._saved = version

    def ready(self) -> bool:
        """Whether the last save is done and another would not exceed the share of the time."""
        self._finish(wait=False)
        return self._thread is None and self._runtime.ticks() >= self._not_before

    def save(
        self, manifest: Manifest, parts: Mapping[str, State], spare: int | None = None, *, between: bool = False
    ) -> None:
        """Start a save that does not delete the version `spare`.

        One that is saved `between` the usual ones gives way to the next, so that it displaces none of those that are
        kept for a rollback. Everything is copied first, so learning may continue. Waits for the previous save.
        """
        self.wait()
        try:
            self._journal.sync()  # a snapshot on disk must not outlive the entries that led to it
        except OSError as error:
            log.error("snapshot failed: the journal cannot be flushed", version=manifest.version, problem=str(error))
            self._failed(manifest.version, error)
            return
        copied = {
            name: State(
                {key: self._copied(name, key, tensor) for key, tensor in part.tensors.items()}, deepcopy(part.meta)
            )
            for name, part in parts.items()
        }
        self._error = None
        self.version = manifest.version
        instead_of, self._between = self._between, manifest.version if between else None
        self._thread = self._runtime.background(lambda: self._write(manifest, copied, spare, instead_of), "snapshot")
        self._thread.start()

    def _copied(self, part: str, name: str, tensor: Array) -> Array:
        """Copy an array; a large one into the memory of its previous copy, because fresh memory costs several times as
        much.
        """
        if tensor.nbytes < _LARGE_BYTES:
            return tensor.copy()
        kept = self._copies.get((part, name))
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            kept = self._copies[part, name] = np.empty_like(tensor, order="C")
        np.copyto(kept, tensor)
        return kept

    def wait(self) -> OSError | None:
        """Wait for the save in progress and return its error, if any."""
        self._finish(wait=True)
        return self._error

    def newest(self) -> int:
        """Wait for the save in progress; the newest version that is saved, -1 if there is none."""
        self._finish(wait=True)
        return self._saved

    def close(self) -> None:
        """Wait for the save in progress."""
        self._finish(wait=True)

    def _finish(self, *, wait: bool) -> None:
        if self._thread is None or (self._thread.is_alive() and not wait):
            return
        self._thread.join()
        self._thread = None
        self.version = self._saved
        if self._cut is not None:
            try:
                self._journal.cut(*self._cut)
            except OSError as error:  # the next save tries again
                log.warning("cannot cut the journal", problem=str(error))
            else:
                self._cut = None

    def _write(self, manifest: Manifest, parts: Mapping[str, State], spare: int | None, instead_of: int | None) -> None:
        started = self._runtime.ticks()
        try:
            saved = self._snapshots.save(manifest, parts, spare, instead_of)
            kept = [other.version for other in self._snapshots.manifests()]
        except OSError as error:
            if not (is_away(error) and self._away):  # for as long as it lasts, once
                log.error("snapshot failed: learning continues", version=manifest.version, problem=str(error))
            self._away = is_away(error)
            self._failed(manifest.version, error)
        except Exception as error:  # a learner state that cannot be written must not go unnoticed
            log.exception("snapshot failed: learning continues", version=manifest.version)
            self._failed(manifest.version, OSError(f"{type(error).__name__}: {error}"))
        else:
            self._saved, self._away = saved.version, False
            self._cut = (saved.version, min(kept, default=saved.version))
            self._observer.snapshotted(saved.version, self._runtime.ticks() - started, saved.size_bytes)
            self._health.running()
        finished = self._runtime.ticks()
        self.took_seconds = finished - started
        self._not_before = finished + (finished - started) / _SHARE

    def _failed(self, version: int, error: OSError) -> None:
        self._error = error
        self._health.degraded(f"the snapshot of version {version} cannot be written: {error}")
        self._observer.snapshot_failed(version, str(error))
