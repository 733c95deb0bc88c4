"""What describes a saved version: its offsets in the log, its parent, and the hashes of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from thalweg.memory.snapshots.pieces import Index
from thalweg.proto.records import Partition, Position


@dataclass(frozen=True, slots=True)
class Earlier:
    """Software that a state was learned with before that of its manifest."""

    upto: int
    """The last version that it learned."""
    software: Mapping[str, str]
    """As in a manifest."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Describes a version: its offsets, its parent, and the hashes of its files."""

    model: str
    version: int
    """Journal entries applied: blocks of records and control operations. 0: nothing learned."""
    parent: int | None
    """The version saved before this one, or rolled back to."""
    learner: str
    config_sha256: str
    """Hash of the settings that determine a state; a state can only be restored under equal settings."""
    offsets: Position
    """The last record of each partition that is in the state."""
    events_learned: int
    created: float
    """Unix seconds."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Prequential metrics at that time."""
    state_sha256: str = ""
    """Hash of the learner's state, independent of the file format."""
    size_bytes: int = 0
    software: Mapping[str, str] = field(default_factory=dict)
    """Versions of what computed the state; of a GPU also which, see `memory/devices/history.py`."""
    earlier: Sequence[Earlier] = ()
    """Other software that learned a part of the log before, oldest first; missing where there is none, and in older
    manifests."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file name."""
    pieces: Mapping[str, Index] = field(default_factory=dict)
    """Per part of the state, the arrays that are saved in pieces."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """The settings hashed by `config_sha256`, readable, with secrets masked; missing in older manifests."""
    revisions: Mapping[str, int] = field(default_factory=dict)
    """The revisions of the layouts of the state (`models/contract/layouts.py`), without first ones."""
    log_identity: Mapping[str, str] = field(default_factory=dict)
    """Identity by topic of the log that was read; missing where none is known, and in older manifests."""
    log_epochs: Mapping[str, Sequence[tuple[int, str, int]]] = field(default_factory=dict)
    """Epochs by topic of the log that was read: number, name, first offset; missing where it has none, and in older
    manifests."""
    recent: Mapping[str, float] = field(default_factory=dict)
    """The metrics of the recent window at that time; missing before the first label, and in older manifests."""

    def to_json(self) -> dict[str, Any]:
        """As in `manifest.json`: offsets as {topic: {partition: offset}}, and a hash over everything else."""
        offsets: dict[str, dict[str, int]] = {}
        for partition, offset in sorted(self.offsets.items()):
            offsets.setdefault(partition.topic, {})[str(partition.number)] = offset
        record = {**self.__dict__, "offsets": offsets, "earlier": [asdict(one) for one in self.earlier]}
        for absent in ("pieces", "identity", "log_identity", "log_epochs", "recent", "earlier", "revisions"):
            if not record[absent]:
                del record[absent]
        return {**record, "manifest_sha256": record_sha256(record)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Manifest:
        """The manifest of this record; what a later version has added is ignored.

        Raises KeyError, TypeError, ValueError or AttributeError when it is invalid or altered.
        """
        record = dict(record)
        expected = record.pop("manifest_sha256")
        if (got := record_sha256(record)) != expected:
            raise ValueError(f"SHA-256 of the manifest: expected {expected}, got {got}")
        offsets = {
            Partition(topic, int(number)): int(offset)
            for topic, partitions in record["offsets"].items()
            for number, offset in partitions.items()
        }
        known = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        earlier = tuple(Earlier(int(one["upto"]), dict(one["software"])) for one in record.get("earlier", ()))
        epochs = {
            topic: [(int(number), str(name), int(first)) for number, name, first in found]
            for topic, found in record.get("log_epochs", {}).items()
        }
        return _checked(cls(**{**known, "offsets": offsets, "earlier": earlier, "log_epochs": epochs}))


def _checked(manifest: Manifest) -> Manifest:
    """The same. Raises TypeError or ValueError when a value has another type than declared: no hash says that."""
    text_to_text = [*manifest.files.items(), *manifest.software.items(), *manifest.log_identity.items()]
    text_to_text += [pair for one in manifest.earlier for pair in one.software.items()]
    texts = [manifest.model, manifest.learner, manifest.config_sha256, manifest.state_sha256, *sum(text_to_text, ())]
    numbers = [manifest.version, manifest.events_learned, manifest.size_bytes, *manifest.offsets.values()]
    numbers += manifest.revisions.values()
    if manifest.parent is not None:
        numbers.append(manifest.parent)
    for value, kinds in [
        *((text, (str,)) for text in texts),
        *((number, (int,)) for number in numbers),
        *(
            (number, (int, float))
            for number in [manifest.created, *manifest.metrics.values(), *manifest.recent.values()]
        ),
        *(
            (mapping, (Mapping,))
            for mapping in (manifest.identity, manifest.metrics, manifest.recent, *manifest.pieces.values())
        ),
    ]:
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(f"expected {' or '.join(kind.__name__ for kind in kinds)}, got {value!r:.100}")
    if manifest.version < 0 or any("/" in name for name in manifest.files):
        raise ValueError(f"version {manifest.version}, files {sorted(manifest.files)}")
    return manifest


def record_sha256(record: Mapping[str, Any]) -> str:
    """The hash that a manifest has of its other entries."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
