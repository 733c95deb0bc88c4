"""Snapshots of a notebook, which a service goes on from, and those of a service, which open in a notebook."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots, Snapshot
from thalweg.models.contract.layouts import newer_revisions, unread_layouts
from thalweg.models.parts.settings import keys_of
from thalweg.ops.config.config import parse
from thalweg.ops.config.effective import toml
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.notebook.values import FrameError
from thalweg.stream.evaluation.baseline import BASELINE_FILE
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.learn.fold import Fold

_TABLES = ("params", "columns", "fields", "drift")
_OF_AN_ENCODER = ("encoder", "weights_strict", "encoder_arguments", "encoder_columns")
_OF_THE_IDENTITY = ("learner", "inputs", "columns", "fields", "params", "seed", "classes", *_OF_AN_ENCODER)


@dataclass(frozen=True)
class Saved:
    """A snapshot that was saved."""

    folder: Path
    version: int
    state_sha256: str
    configuration: str
    """A configuration, as TOML, with which `thalweg serve` goes on from it."""

    def __str__(self) -> str:
        return (
            f"version {self.version} is saved in {self.folder}; `thalweg serve` goes on from it, on the events of its "
            f"topic, with this configuration (at least):\n\n{self.configuration}"
        )

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))


def save(config: ModelConfig, fold: Fold, monitor: Monitor, folder: Path) -> Saved:
    """As `Model.save`: the state of fold and monitor, of a model of this configuration."""
    topic = config.topic if config.topic != f"{config.name}.events" else f"{folder.name}.events"
    table = config.model_dump(exclude_unset=True) | {"name": folder.name, "topic": topic}
    named = parse({"model": [table]}, str(folder), {}).model[0]
    if (folder / "journal").exists():
        raise FrameError(
            f"{folder}: a service learns there, and its journal would not lead to this state; save to another folder"
        )
    snapshots = FolderSnapshots(folder, keep=named.snapshots_kept)
    snapshots.prepare()
    for old in snapshots.manifests():  # of an earlier run of the notebook
        if old.version >= fold.version:
            shutil.rmtree(folder / str(old.version))
    taken = fold.snapshot(time.time())
    manifest = replace(taken.manifest, model=named.name, parent=None, offsets={}, log_identity={})
    monitor.save_baseline(folder / BASELINE_FILE)
    kept = snapshots.save(manifest, taken.parts)
    return Saved(folder, kept.version, kept.state_sha256, configuration(named, folder))


def configuration(config: ModelConfig, folder: Path) -> str:
    """The configuration of a service whose model this is."""
    given = [key for key in keys_of(ModelConfig) if key in config.model_fields_set and key not in _TABLES]
    lines = ["[service]", f"state_dir = {toml(str(folder.parent))}", "", "[[model]]"]
    lines += [f"{key} = {toml(_plain(getattr(config, key)))}" for key in given]
    for key in _TABLES:
        table = _plain(getattr(config, key))
        if key in config.model_fields_set and table:
            lines += ["", f"[model.{key}]", *(f"{toml_key(name)} = {toml(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def toml_key(name: str) -> str:
    """A key of a TOML table."""
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else toml(name)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_unset=True)
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def opened(folder: Path, version: int | None, settings: Mapping[str, Any]) -> tuple[ModelConfig, Snapshot]:
    """The snapshot of `load`, and the configuration of its model."""
    snapshots = FolderSnapshots(folder)
    if version is None:
        versions = [manifest.version for manifest in snapshots.manifests()]
        if not versions:
            raise FrameError(f"{folder}: there is no snapshot; expected the folder of a model, state_dir/NAME")
        version = versions[-1]
    problems = snapshots.verify(version)
    if problems:
        raise FrameError(f"{folder}, version {version}: {'; '.join(problems)}")
    snapshot = snapshots.load(version)
    manifest = snapshot.manifest
    model = parse({"model": [_table(manifest) | dict(settings)]}, str(folder), {}).model[0]
    if layouts := unread_layouts(manifest.identity) + newer_revisions(manifest.revisions, manifest.learner):
        raise FrameError(
            f"{folder}, version {version}: {'; '.join(layouts)}; learn the rows again, or go back to the version of "
            f"thalweg that saved it"
        )
    if model.identity_sha256() != manifest.config_sha256:
        raise FrameError(
            f"{folder}, version {version}: its settings lead to another state: the manifest says {manifest.identity}, "
            f"and here they are {model.shown_identity()}; masked parameters and weights of an encoder must be given"
        )
    return model, snapshot


def _table(manifest: Manifest) -> dict[str, Any]:
    identity = manifest.identity
    if not identity:
        raise FrameError(f"version {manifest.version}: an older version saved it, without its settings")
    table = {key: identity[key] for key in _OF_THE_IDENTITY if identity.get(key) or identity.get(key) is False}
    return {"name": manifest.model, "topic": f"{manifest.model}.events", "learner": manifest.learner, **table}
