"""Snapshots: a state and its offsets in the log, saved together.

A version is a folder `<version>/` with `manifest.json` and one safetensors file per part of the state, large arrays in
pieces beside it (`pieces.py`), unchanged ones shared with the previous version. It is written to a temporary folder,
flushed, and renamed, so a crash leaves the old or the new version. A version that fails its checksums is set aside
with an error in the log, and the next older one is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from thalweg.memory.files import make_folder, sync_folder, write_durably
from thalweg.memory.kept_folders import folder_id, must_be
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.origin import software
from thalweg.memory.snapshots.pieces import Index, read_pieces, split, write_pieces
from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state

log = structlog.get_logger(__name__)

_VERSION = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_FILES = {"learner": "state.safetensors"}  # other parts use their own name


class UnknownVersion(LookupError):
    """There is no snapshot of that version (any more); the message lists those that exist."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A loaded version: its manifest and its parts by name (`learner`, and those of the processor)."""

    manifest: Manifest
    parts: Mapping[str, State]


class Snapshots(Protocol):
    """The snapshots of one model. One writer; other processes may read."""

    def save(
        self, manifest: Manifest, parts: Mapping[str, State], spare: int | None = None, instead_of: int | None = None
    ) -> Manifest:
        """Save a version; fills in hashes and sizes. If it raises OSError, the older versions are unchanged.

        Args:
            manifest: Of the version.
            parts: Its parts.
            spare: A version that is not deleted this time, however old it is.
            instead_of: A version that is deleted, however new it is.
        """

    def newest(self) -> Snapshot | None:
        """The newest valid version; damaged ones are set aside."""

    def load(self, version: int) -> Snapshot:
        """That version. Raises UnknownVersion, or DamagedFile."""

    def manifests(self) -> Sequence[Manifest]:
        """Of all snapshots, oldest first; unreadable ones are omitted."""


class InMemorySnapshots:
    """In memory, for tests and notebooks."""

    def __init__(self, keep: int = 5) -> None:
        self._keep = keep
        self._kept: dict[int, Snapshot] = {}

    def save(
        self, manifest: Manifest, parts: Mapping[str, State], spare: int | None = None, instead_of: int | None = None
    ) -> Manifest:
        parts = {
            name: State({key: tensor.copy() for key, tensor in part.tensors.items()}, dict(part.meta))
            for name, part in parts.items()
        }
        manifest = replace(manifest, **_facts(manifest, parts))
        self._kept[manifest.version] = Snapshot(manifest, parts)
        for version in _surplus(sorted(self._kept), self._keep, spare, instead_of):
            del self._kept[version]
        return manifest

    def newest(self) -> Snapshot | None:
        return self._kept[max(self._kept)] if self._kept else None

    def load(self, version: int) -> Snapshot:
        if version not in self._kept:
            raise UnknownVersion(_unknown(version, sorted(self._kept)))
        return self._kept[version]

    def manifests(self) -> Sequence[Manifest]:
        return [self._kept[version].manifest for version in sorted(self._kept)]


class FolderSnapshots:
    """Versions as folders below `folder`, which is created if needed; the newest `keep` are retained."""

    def __init__(self, folder: Path, keep: int = 5) -> None:
        self._folder = folder
        self._keep = keep
        self._opened: tuple[int, int] | None = None

    @property
    def folder(self) -> Path:
        """The folder of the versions."""
        return self._folder

    def prepare(self) -> None:
        """Create the folder and remove what a killed writer left. The writer calls it before it saves."""
        make_folder(self._folder)
        self._opened = folder_id(self._folder)
        for leftover in self._folder.glob(".*.partial"):
            _remove(leftover)

    def save(
        self, manifest: Manifest, parts: Mapping[str, State], spare: int | None = None, instead_of: int | None = None
    ) -> Manifest:
        beside = self._folder / f".{manifest.version}.partial"
        if self._opened is not None:  # else the journal stays where it was, and the snapshot alone is here
            must_be(self._folder, self._opened)
        make_folder(self._folder)
        if beside.exists():  # of a save that failed, and could not be removed
            _remove(beside)
        beside.mkdir()
        try:
            files: dict[str, str] = {}
            pieces: dict[str, Index] = {}
            before, known = self._before()
            for name, part in parts.items():
                path = beside / _file(name)
                small, large = split(part)
                write_state(small, path)
                files[path.name] = _sha256(path)
                if large:
                    pieces[name], hashes = write_pieces(name, large, beside, before, known)
                    files |= hashes
            manifest = replace(manifest, files=files, pieces=pieces, **_facts(manifest, parts))
            text = json.dumps(manifest.to_json(), indent=1)
            write_durably(beside / "manifest.json", (text + "\n").encode())
            sync_folder(beside)
            final = self._folder / str(manifest.version)
            if final.exists() or final.is_symlink():  # saved by a run that was killed after the rename, or a stranger
                _remove(final)
            beside.rename(final)
            sync_folder(self._folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        for version in _surplus(self._versions(), self._keep, spare, instead_of):
            self._delete(version)
        return manifest

    def _delete(self, version: int) -> None:
        """Delete a version; what cannot be deleted stays. Whoever lists versions meanwhile finds it whole or not."""
        going = self._folder / f".{version}.partial"  # which `prepare` removes, should it stay
        with suppress(OSError):
            (self._folder / str(version)).rename(going)
        for path in (going, self._folder / str(version)):
            shutil.rmtree(path, ignore_errors=True)

    def _before(self) -> tuple[Path | None, Mapping[str, str]]:
        """The newest version's folder, and the hashes of its files."""
        versions = self._versions()
        try:
            return (self._folder / str(versions[-1]), self._manifest(versions[-1]).files) if versions else (None, {})
        except DamagedFile:
            return None, {}

    def newest(self) -> Snapshot | None:
        for version in reversed(self._versions()):
            problems = self.verify(version)
            if not problems:
                return self.load(version)
            log.error("snapshot is damaged: set aside, using an older one", version=version, problems=problems)
            self._set_aside(version)
        return None

    def _set_aside(self, version: int) -> None:
        aside = self._folder / f"{version}.damaged"
        try:
            if aside.exists() or aside.is_symlink():
                _remove(aside)
            (self._folder / str(version)).rename(aside)
        except OSError as error:  # a read-only folder, say: the older one can be used all the same
            log.warning("a damaged snapshot cannot be set aside", version=version, problem=str(error))

    def load(self, version: int) -> Snapshot:
        folder = self._folder / str(version)
        if not folder.is_dir():
            raise UnknownVersion(_unknown(version, self._versions()))
        manifest = self._manifest(version)
        names = {_file(name): name for name in ("learner",)}
        parts = {}
        for file in manifest.files:
            if not file.endswith(".safetensors"):
                continue
            try:
                parts[names.get(file, file.removesuffix(".safetensors"))] = read_state(folder / file)
            except FileNotFoundError as error:
                raise DamagedFile(f"{folder / file}: missing") from error
        for name, index in manifest.pieces.items():
            large = read_pieces(name, index, folder)
            parts[name] = State({**parts[name].tensors, **large}, parts[name].meta)
        return Snapshot(manifest, parts)

    def part(self, version: int, name: str) -> State | None:
        """The small arrays and the meta of one part of a version; None if it has no such part. Raises DamagedFile."""
        path = self._folder / str(version) / _file(name)
        try:
            return read_state(path)
        except FileNotFoundError:
            return None

    def verify(self, version: int) -> list[str]:
        """What is wrong with a version, as text; empty when every hash matches. Raises UnknownVersion."""
        folder = self._folder / str(version)
        if not folder.is_dir():
            raise UnknownVersion(_unknown(version, self._versions()))
        try:
            manifest = self._manifest(version)
        except DamagedFile as error:
            return [str(error)]
        problems = []
        for name, expected in manifest.files.items():
            path = folder / name
            try:
                got = _sha256(path)
            except PermissionError:
                raise  # not damage: whoever starts it may not read it
            except OSError as error:
                problems.append(f"{name}: {'missing' if isinstance(error, FileNotFoundError) else error}")
                continue
            if got != expected:
                problems.append(f"{name}: SHA-256 expected {expected}, got {got}")
        if problems:
            return problems
        try:
            got = self.load(version).parts["learner"].sha256()
        except (
            DamagedFile,
            LookupError,
            TypeError,
            ValueError,
        ) as error:  # the hashes are right, and it is none of ours
            return [f"state: {type(error).__name__}: {error}"]
        if got != manifest.state_sha256:
            problems.append(f"state: SHA-256 expected {manifest.state_sha256}, got {got}")
        return problems

    def manifests(self) -> Sequence[Manifest]:
        found = []
        for version in self._versions():
            try:
                found.append(self._manifest(version))
            except DamagedFile as error:
                if not (self._folder / str(version)).is_dir():  # deleted since it was listed
                    continue
                log.warning("snapshot cannot be listed", version=version, problem=str(error))
        return found

    def newest_listed(self) -> int:
        """The newest version that lies there, readable or not; -1 if there is none. Reads no more than the folder."""
        return max(self._versions(), default=-1)

    def _versions(self) -> list[int]:
        try:
            with os.scandir(self._folder) as found:
                return sorted(
                    int(entry.name)
                    for entry in found
                    if _VERSION.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _manifest(self, version: int) -> Manifest:
        path = self._folder / str(version) / "manifest.json"
        try:
            manifest = Manifest.from_json(json.loads(path.read_text(encoding="utf-8")))
        except PermissionError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFile(f"{path}: {type(error).__name__}: {error}") from error
        if manifest.version != version:
            raise DamagedFile(f"{path}: expected version {version}, got {manifest.version}")
        return manifest


def _surplus(versions: Sequence[int], keep: int, spare: int | None, instead_of: int | None) -> list[int]:
    """Those to delete of all versions, oldest first; never the newest, nor `spare`."""
    replaced = [version for version in versions[:-1] if version == instead_of and version != spare]
    others = [version for version in versions if version not in replaced]
    return replaced + [version for version in others[:-keep] if version != spare]


def _facts(manifest: Manifest, parts: Mapping[str, State]) -> dict[str, Any]:
    return {
        "state_sha256": parts["learner"].sha256(),
        "size_bytes": sum(part.size_bytes for part in parts.values()),
        "software": {**software(), **manifest.software},
    }


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _file(part: str) -> str:
    return _FILES.get(part, f"{part}.safetensors")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unknown(version: int, kept: Sequence[int]) -> str:
    return f"version {version} is not kept; kept: {', '.join(map(str, kept)) or 'none'}"
