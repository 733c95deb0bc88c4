"""What becomes of saved states under a configuration, for people, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots, Snapshot, UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile
from thalweg.models.contract.layouts import unread_layouts
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import new_learner, settings_of
from thalweg.ops.run.successors import Generation, folder_of_state, rebuilt, saved_settings, successors_of
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.settings import StateMismatch, identity_differences


def changes(config: Config) -> Iterator[str]:
    """For people: of each model that was changed, what was, and what comes of it."""
    for model in config.model:
        try:
            saved = saved_settings(config, model)
        except OSError as error:  # whoever checks a file may not be who runs it
            yield f"model {model.name!r}: its state cannot be read: {error}"
            continue
        if saved is None:
            continue
        if saved.config_sha256 == model.identity_sha256():
            if why := _cannot_go_on(config, model, saved):
                yield why
            continue
        told = identity_differences(saved.identity, model.shown_identity()) or ["settings that are not recorded"]
        yield f"model {model.name!r} was changed since its state was saved:"
        yield from (f"  {line}" for line in told)
        if successors_of(config, model) and unread_layouts(saved.identity):
            yield (
                "  The saved version cannot go on: this version of thalweg does not read its state. A successor is "
                "built from the log, and answers once it is ready; the state stays for the version that saved it."
            )
        elif successors_of(config, model):
            promote = f"`thalweg promote CONFIG --model {model.name}`"
            if why := _cannot_go_on(config, model, saved):
                yield (
                    f"  The saved version cannot go on: {why}. It learns nothing more, and answers, if at all, as it "
                    f"did last; a successor is built beside it from the log, and answers after {promote}."
                )
            else:
                yield (
                    "  The saved version goes on answering and learning, and a successor is built beside it from the "
                    f"log; {promote} lets it answer."
                )
        elif aliases := [alias.name for alias in config.alias if model.name in alias.members]:
            yield (
                "  The model is blocked: put the old settings back, add the changed one as another [[model]], and name "
                f"that in `challengers` of alias {aliases[0]!r}; `thalweg promote CONFIG --alias {aliases[0]} --model "
                "NAME` lets it answer."
            )
        elif model.sharded is not None:
            yield (
                "  Its shards are blocked until the old settings are put back: give the changed model another name, "
                "and it learns the topic from the start."
            )
        elif model.scale is not None:
            yield (
                "  The model is blocked until the old settings are put back: give the changed one another name, and it "
                "learns the topic from the start."
            )
        else:
            yield "  The model is blocked until the old settings are put back, or on_change is 'successor'."


def _cannot_go_on(config: Config, model: ModelConfig, saved: Generation) -> str:
    """Why the newest state that was saved under these settings cannot be restored; empty if it can be."""
    try:
        as_saved = rebuilt(model, saved)
        kept = _newest(FolderSnapshots(folder_of_state(config, as_saved)))
        if kept is not None:
            settings = settings_of(as_saved, config.service.max_message_bytes, config.service.state_url)
            Fold(new_learner(as_saved, looked_at=True), InMemorySnapshots(), settings).load(kept)
    except (ConfigurationError, StateMismatch, OSError, ImportError) as error:
        return str(error)
    return ""


def _newest(snapshots: FolderSnapshots) -> Snapshot | None:
    """The newest version that can be read; nothing is set aside."""
    for manifest in reversed(snapshots.manifests()):
        try:
            return snapshots.load(manifest.version)
        except (DamagedFile, UnknownVersion):  # the one before it is used, too, at the start
            continue
    return None
