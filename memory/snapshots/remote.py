"""Snapshots in an object store: the newest state of a model, where every host reaches it.

Below `MODEL/` there are these objects:

- `owners/GENERATION`: whoever begins to write creates the next one. Who owns the highest generation owns the model.
- `blobs/SHA256`: contents of files. What two versions share is there once.
- `heads/GENERATION-VERSION`: a version's manifest, and which blob each of its files is.
- `journal/GENERATION-VERSION`: the journal of an owner from that version on, replaced as it grows.
- `cluster`: the id of the Kafka cluster from whose topics the model is learned; none of a log without one.
- `averaged/VERSION-SHA256`: what a version in a journal has averaged, which its line names.

The newest state is the head of the highest generation and, in it, of the highest version. So an owner that was
superseded (stopped for long, cut off, taken for dead) can write whatever it likes: its heads have a lower generation,
and are never taken. It learns of it before and after each of its writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from thalweg.memory.files import flush_file, make_folder, sync_folder, write_durably
from thalweg.memory.objects.objects import Listed, Objects, ObjectsUnavailable
from thalweg.memory.objects.together import together
from thalweg.memory.snapshots.blobs import averages_upto, digest_of, still_there, unneeded
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots

log = structlog.get_logger(__name__)

_OWNER = re.compile(r"([0-9]{10})", re.ASCII)
_HEAD = re.compile(r"([0-9]{10})-([0-9]{19})", re.ASCII)
_FILE = re.compile(r"(\.\./)?[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_KEPT_OWNERS = 10


class Superseded(Exception):
    """Another owner has taken over; the message says who."""


class OtherCluster(Exception):
    """The model is learned from another cluster; the message says from which one, and what to do."""


class DamagedHead(Exception):
    """A head, or a blob that it names, is missing or altered."""


@dataclass(frozen=True, slots=True)
class Head:
    """A version in the store."""

    generation: int
    version: int
    manifest: str
    """The text of `manifest.json`."""
    files: Mapping[str, str]
    """SHA-256 by name: those of the version's folder, and `../NAME` beside it."""


class RemoteSnapshots:
    """The snapshots of one model in a store. One thread uses it.

    Args:
        objects: The store.
        model: The model's name, which begins all names there.
        keep: Versions kept of a generation.
    """

    def __init__(self, objects: Objects, model: str, keep: int = 5) -> None:
        self._objects, self.model, self._keep = objects, model, keep
        self._there: set[str] | None = None
        self._averaged: set[str] = set()
        """Names of what was uploaded of averages."""
        self.generation = 0
        """Of this owner; 0: it has not claimed the model."""
        self._cluster = ""

    @property
    def undeleted(self) -> str:
        """As of `Objects`."""
        return self._objects.undeleted

    def check(self) -> None:
        """Raise ObjectsUnusable for a store in which nobody can be kept from writing, or ObjectsUnavailable."""
        self._objects.check()

    def learned_from(self, cluster: str, moved_from: str = "") -> None:
        """Record the cluster that the model is learned from, unless it is recorded; to be called before `claim`.

        Topics of the same names on two clusters have other records: whoever learned one state from both would count
        what it reads of the one as the other's.

        Args:
            cluster: The id of the cluster.
            moved_from: The cluster from which the model is moved to this one; empty: none.

        Raises:
            OtherCluster: Another one is recorded; nothing was changed.
            ObjectsUnavailable: As ever.
        """
        name = self._name("cluster")
        while (content := self._objects.get(name)) is None:
            if self._objects.create(name, cluster.encode()):  # else another host was first
                break
        found = cluster if content is None else content.decode(errors="replace")
        if moved_from and found == moved_from != cluster:
            self._objects.put(name, cluster.encode())
            log.warning("the model is moved to another cluster", model=self.model, before=found, now=cluster)
        elif found != cluster:
            raise OtherCluster(
                f"model {self.model!r}: its state in {self._objects.url} is learned from Kafka cluster {found}, and "
                f"log.url is cluster {cluster}: nothing was claimed or learned. Choose another service.state_url, or "
                f'another name for the model; to move the model to this cluster, set log.moved_from = "{found}" '
                f"(docs/operations.md, Another cluster)"
            )
        self._cluster = cluster

    def claim(self, who: str, above: int = 0) -> int:
        """Become the owner; the generation. Raises ObjectsUnavailable.

        Args:
            who: Told to those who are superseded.
            above: A generation that is known of, which a store that was emptied has forgotten.
        """
        while True:
            owners = self._owners()
            after = max(max(owners, default=0), above) + 1
            created = self._objects.create(self._name("owners", f"{after:010d}"), who.encode())
            newest = max(self._owners(), default=0)
            if newest < after:  # it is there, whoever has created it
                raise ObjectsUnavailable(
                    f"{self._objects.url}: {self._name('owners')} is listed without what was just written; expected a "
                    f"store whose lists are complete at once"
                )
            if created and newest == after:  # else so many others came meanwhile that it was deleted before
                self.generation, self._there, self._averaged = after, None, set()
                self._objects.discard(self._name("owners", f"{one:010d}") for one in sorted(owners)[:-_KEPT_OWNERS])
                return after

    def upload_anew(self) -> None:
        """Rely on nothing that others have uploaded: some of it is damaged."""
        self._there, self._averaged = set(), set()

    def must_own(self) -> bool:
        """Raise Superseded if there is an owner after this one; whether what it has uploaded is there. Raises
        ObjectsUnavailable.
        """
        owners = self._owners()
        newest = max(owners, default=0)
        if newest > self.generation:
            who = (self._objects.get(self._name("owners", f"{newest:010d}")) or b"").decode(errors="replace")
            raise Superseded(
                f"model {self.model!r}: its state in {self._objects.url} is owned by {who or 'another process'} now "
                f"(generation {newest}, this one has {self.generation})"
            )
        if self.generation in owners:
            return True
        log.error("the object store has lost what was in it: everything is uploaded again", model=self.model)
        self._objects.create(self._name("owners", f"{self.generation:010d}"), b"whoever had it before it was lost")
        if self._cluster:
            self._objects.create(self._name("cluster"), self._cluster.encode())
        self._there, self._averaged = set(), set()
        return False

    def heads(self) -> list[tuple[int, int]]:
        """Generation and version of each head, the newest last. Raises ObjectsUnavailable."""
        return self._pairs("heads")

    def _pairs(self, kind: str) -> list[tuple[int, int]]:
        names = (one.name.rpartition("/")[2] for one in self._objects.names(self._name(kind)))
        return sorted((int(found[1]), int(found[2])) for name in names if (found := _HEAD.fullmatch(name)))

    def newest(self, before: tuple[int, int] | None = None) -> Head | None:
        """The newest head that can be read, None if there is none. Raises ObjectsUnavailable.

        `before`: generation and version of the one that it is older than; None: of any.
        """
        for generation, version in reversed(self.heads()):
            if before is not None and (generation, version) >= before:
                continue
            try:
                return self.head(generation, version)
            except DamagedHead as error:
                log.error("a snapshot in the object store is damaged: using an older one", problem=str(error))
        return None

    def head(self, generation: int, version: int) -> Head:
        """That head. Raises DamagedHead, ObjectsUnavailable."""
        name = self._head_name(generation, version)
        content = self._objects.get(name)
        try:
            if content is None:
                raise ValueError("missing")
            record = json.loads(content)
            manifest = Manifest.from_json(json.loads(record["manifest"]))
            if manifest.version != version or manifest.model.partition("@")[0] != self.model.partition("@")[0]:
                raise ValueError(f"it is of version {manifest.version} of model {manifest.model!r}")
            files = {str(name): str(digest) for name, digest in record["files"].items()}
            if strange := [name for name in files if not _FILE.fullmatch(name)]:
                raise ValueError(f"file {strange[0]!r:.80}")
            return Head(generation, version, record["manifest"], files)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedHead(f"{self._objects.url}: {name}: {error}") from error

    def restore(self, head: Head, folder: Path) -> None:
        """Write a version into a model's folder, as it was saved; what earlier versions there have in common with it is
        not fetched again.

        Raises:
            DamagedHead: A blob is missing or altered; nothing was written.
            ObjectsUnavailable, OSError: Likewise.
        """
        beside = folder / f".{head.version}.partial"
        make_folder(folder)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            known = {
                digest: folder / str(manifest.version) / name
                for manifest in FolderSnapshots(folder).manifests()
                for name, digest in manifest.files.items()
            }
            paths = {name: beside / name.replace("../", "beside-") for name in head.files}
            together(
                [
                    partial(self._fetch, name, expected, paths[name])
                    for name, expected in head.files.items()
                    if not (expected in known and _linked(known[expected], paths[name], expected))
                ]
            )
            write_durably(beside / "manifest.json", head.manifest.encode())
            for name in head.files:
                if name.startswith("../"):
                    (beside / name.replace("../", "beside-")).rename(folder / name.removeprefix("../"))
            sync_folder(beside)
            shutil.rmtree(folder / str(head.version), ignore_errors=True)
            beside.rename(folder / str(head.version))
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise

    def _fetch(self, name: str, expected: str, path: Path) -> None:
        if not self._objects.download(self._name("blobs", expected), path):
            raise DamagedHead(f"{self._objects.url}: {self._name('blobs', expected)} ({name}): missing")
        if (got := _sha256(path)) != expected:
            raise DamagedHead(f"{self._objects.url}: {name}: SHA-256 expected {expected}, got {got}")
        flush_file(path)

    def save(
        self, folder: Path, beside: Sequence[Path] = (), journal: bytes | None = None, *, prune: bool = True
    ) -> None:
        """Upload a version.

        Args:
            folder: The folder of the version.
            beside: Files of the model's folder that belong to it; those that do not exist are left out.
            journal: What follows it, which is there before it is: who takes it over at once learns that, too.
            prune: Whether to delete what is not needed any more; else a later one does.

        Raises:
            Superseded: Another owner has taken over, before or meanwhile: the version counts for nothing.
            FileNotFoundError: The version was deleted meanwhile; a newer one is there.
            ObjectsUnavailable: Nothing refers to what was uploaded; the next save goes on.
        """
        self.must_own()
        manifest = (folder / "manifest.json").read_text(encoding="utf-8")
        files = dict(Manifest.from_json(json.loads(manifest)).files)
        contents: dict[str, bytes | Path] = {name: folder / name for name in files}
        for path in beside:
            if path.exists():  # read once: it may be written again at any time, unlike a version
                content = path.read_bytes()
                files[f"../{path.name}"] = hashlib.sha256(content).hexdigest()
                contents[f"../{path.name}"] = content
        if self._there is None:  # of others, only what the newest head names: who was superseded may still delete
            before = self.newest()
            self._there = set() if before is None else set(before.files.values())
        version = int(folder.name)
        new = {digest: contents[name] for name, digest in files.items() if digest not in self._there}
        uploads = [partial(self._objects.put, self._name("blobs", digest), content) for digest, content in new.items()]
        if journal is not None:
            uploads.append(partial(self.save_journal, version, journal))
        together(uploads)
        self._there.update(new)
        record = {"manifest": manifest, "files": files}
        self._objects.put(self._head_name(self.generation, version), json.dumps(record).encode())
        self.must_own()
        if prune:
            self._prune()

    def save_journal(self, version: int, content: bytes) -> None:
        """Replace what this owner's journal holds from a version on. Raises ObjectsUnavailable; of a superseded owner
        nobody reads it.
        """
        self._objects.put(self._name("journal", f"{self.generation:010d}-{version:019d}"), content)

    def save_averaged(self, version: int, sha256: str, path: Path) -> None:
        """Have there what a version has averaged, unless it was deleted here: a newer version has made it unnecessary.

        Args:
            version: The version.
            sha256: The hash that the journal has of it.
            path: Its file.

        Raises ObjectsUnavailable.
        """
        name = self._name("averaged", f"{version:019d}-{sha256}")
        if name in self._averaged:
            return
        with suppress(FileNotFoundError):
            self._objects.put(name, path.read_bytes())
            self._averaged.add(name)

    def averaged(self, version: int, sha256: str) -> bytes | None:
        """What `save_averaged` was given, unverified; None if it is not there. Raises ObjectsUnavailable."""
        return self._objects.get(self._name("averaged", f"{version:019d}-{sha256}"))

    def journal(self, head: Head) -> bytes | None:
        """The journal from a head's version on; None: there is none. Raises ObjectsUnavailable."""
        found = self.journal_object(head.generation, head.version)
        return None if found is None else self._objects.get(found.name)

    def journal_object(self, generation: int, version: int) -> Listed | None:
        """The journal from a head's version on, of its owner or the newest one that went on from it; None: there is
        none. Another one if it has changed. Raises ObjectsUnavailable.
        """
        listed = self._objects.names(self._name("journal"))
        named = [(found, one) for one in listed if (found := _HEAD.fullmatch(one.name.rpartition("/")[2]))]
        fitting = [one for found, one in named if int(found[2]) == version and int(found[1]) >= generation]
        return fitting[-1] if fitting else None

    def content(self, listed: Listed) -> bytes | None:
        """The content of a journal; None if it is gone. Raises ObjectsUnavailable."""
        return self._objects.get(listed.name)

    def _prune(self) -> None:
        """Delete old heads, old blobs that no head names, and journals from before the oldest head."""
        heads = self.heads()
        oldest = min((version for _, version in heads), default=0)
        self._objects.discard(
            self._name("journal", f"{generation:010d}-{version:019d}")
            for generation, version in self._pairs("journal")
            if version < oldest
        )
        passed = averages_upto(self._objects.names(self._name("averaged")), oldest)
        self._objects.discard(passed)
        self._averaged.difference_update(passed)
        own = [head for head in heads if head[0] == self.generation]
        earlier = [head for head in heads if head[0] < self.generation]
        left = own[-self._keep :] + (earlier[-1:] if len(own) < self._keep else [])
        if gone := [head for head in own + earlier if head not in left]:
            if not self._objects.discard(self._head_name(*head) for head in gone):
                return
            try:
                named = {digest for head in self.heads() for digest in self.head(*head).files.values()}
            except DamagedHead as error:
                log.warning("unused blobs stay: a head cannot be read", problem=str(error))
                return
            blobs = self._objects.names(self._name("blobs"))
            gone_now = unneeded(blobs, named)
            self._objects.discard(gone_now)
            there = {digest_of(one.name) for one in blobs}.difference(map(digest_of, gone_now))
            self._there = still_there(self._there or set(), there, named, self.model, self._objects.url)

    def _owners(self) -> list[int]:
        names = (one.name.rpartition("/")[2] for one in self._objects.names(self._name("owners")))
        return [int(name) for name in names if _OWNER.fullmatch(name)]

    def _head_name(self, generation: int, version: int) -> str:
        return self._name("heads", f"{generation:010d}-{version:019d}")

    def _name(self, *parts: str) -> str:
        return "/".join((self.model, *parts))


def _linked(known: Path, path: Path, expected: str) -> bool:
    """Make `path` the file of an earlier version; whether its content is that which is expected."""
    with suppress(OSError):
        os.link(known, path)
        if _sha256(path) == expected:
            return True
    path.unlink(missing_ok=True)
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
