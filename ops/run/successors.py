"""Successors: a model whose settings were changed goes on as it was, and the changed one is built beside it.

The saved state says under which settings it was made. Where the configuration has others, both are models: the one of
the state under its name, and its successor as `NAME@2`, each with a folder, a journal and a position of its own. The
name becomes an alias of both, so that `thalweg promote` changes which one answers.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.files import make_folder, sync_folder, write_durably
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.layouts import unread_layouts
from thalweg.models.contract.learner import ParamsError
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.resources.ownership import not_ours
from thalweg.stream.journal.promotions import Promotions, before
from thalweg.stream.learn.settings import identity_differences
from thalweg.stream.shards.names import shard_name, shard_of

log = structlog.get_logger(__name__)


class Unreadable(ConfigurationError):
    """A saved state has a layout that this version of the software does not read."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One set of settings that a model has had."""

    number: int
    config_sha256: str
    identity: Mapping[str, Any]
    """As in manifests."""
    created: float
    """Unix seconds."""
    begins: Mapping[str, int] = field(default_factory=dict)
    """By `TOPIC/PARTITION`, the offset that it was built from where earlier records were deleted."""

    def name(self, model: str) -> str:
        """The name of the model with these settings."""
        return model if self.number == 1 else f"{model}@{self.number}"


def aliases_folder(config: Config) -> Path:
    """The folder of what is known of names rather than of models."""
    return Path(config.service.state_dir) / ".aliases"


def promotions_path(config: Config, alias: str) -> Path:
    """The file of an alias's promotions."""
    return aliases_folder(config) / f"{alias}.jsonl"


def generations_path(config: Config, model: str) -> Path:
    """The file of a model's generations."""
    return aliases_folder(config) / f"{model}.generations.json"


def with_successors(config: Config, *, record: bool, blocked: dict[str, ConfigurationError] | None = None) -> Config:
    """The configuration with every model that is to run, and an alias for each that has a successor.

    Args:
        config: The configuration as given.
        record: Whether a new successor is recorded in the state folder, as the processes do that run it.
        blocked: Receives the models whose saved state cannot go on, with the reason; None: that is raised.

    Raises:
        ConfigurationError: As `blocked` says.
        OSError: The state folder cannot be read or written.
    """
    models: list[ModelConfig] = []
    aliases = list(config.alias)
    for model in config.model:
        try:
            running = _running(config, model, record=record)
        except ConfigurationError as error:
            if blocked is None:
                raise
            blocked[model.name] = error
            running = [model]
        except PermissionError as error:  # of one model's files: the others need not wait for it
            if blocked is None:
                raise
            blocked[model.name] = ConfigurationError([not_ours(error)])
            running = [model]
        models += running
        if len(running) > 1 or running[0].name != model.name:
            first = _first(config, model, running)
            others = [one.name for one in running if one.name != first]
            aliases.append(AliasConfig.model_construct(name=model.name, champion=first, challengers=others))
    return config.model_copy(update={"model": models, "alias": aliases})


def answering(config: Config, name: str) -> tuple[Config, str]:
    """The configuration with every model that is to run, and of a name the model that answers under it.

    `NAME@1` is the version before the first successor. A change that no process has followed yet is none here.
    Raises ConfigurationError or OSError.
    """
    given = any(alias.name == name for alias in config.alias)
    if not given and not generations_path(config, name.partition("@")[0]).exists():
        return config, name
    config = with_successors(config, record=False)
    if name.endswith("@1"):
        return config, name[:-2]
    for alias in config.alias:
        if alias.name == name:
            promoted = Promotions(promotions_path(config, name)).read()
            return config, promoted[-1].champion if promoted else alias.champion
    return config, name


def successors_of(config: Config, model: ModelConfig) -> bool:
    """Whether a changed model gets a successor: not where an alias already says which models answer, nor for what moves
    between hosts."""
    return (
        model.scale is None
        and model.on_change == "successor"
        and not any(model.name in alias.members for alias in config.alias)
    )


def note_beginning(config: Config, model: str, number: int, begins: Mapping[str, int]) -> None:
    """Record from where in the log a generation was built. Raises OSError."""
    path = generations_path(config, model)
    with _turn(path):
        kept = [replace(one, begins=begins) if one.number == number else one for one in generations(path)]
        _write(path, kept)


def generations(path: Path) -> list[Generation]:
    """The recorded generations, oldest first; none if there is no file. Raises OSError or ConfigurationError."""
    try:
        return [Generation(**record) for record in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise ConfigurationError([f"{path}: cannot be read: {error}"]) from error


def saved_settings(config: Config, model: ModelConfig) -> Generation | None:
    """The settings of the state that answers now; None if nothing is saved."""
    if known := generations(generations_path(config, model.name)):
        champion = _champion(config, model.name, known)
        return next((one for one in known if one.name(model.name) == champion), known[0])
    kept = FolderSnapshots(folder_of_state(config, model)).manifests()
    if not kept or not kept[-1].identity:
        return None
    return Generation(1, kept[-1].config_sha256, kept[-1].identity, kept[-1].created)


def folder_of_state(config: Config, model: ModelConfig) -> Path:
    """The folder of its snapshots: of a scaled model, that of any shard, since all have the same settings."""
    folder = Path(config.service.state_dir)
    shards = sorted(folder.glob(f"{shard_name(model.name, 0)[:-1]}*")) if model.sharded is not None else []
    return next((path for path in shards if shard_of(path.name)), folder / model.name)


def _champion(config: Config, model: str, known: list[Generation]) -> str:
    promoted = Promotions(promotions_path(config, model)).read()
    return promoted[-1].champion if promoted else known[0].name(model)


def _running(config: Config, model: ModelConfig, *, record: bool) -> list[ModelConfig]:
    """The models of one name: who answers, who may answer next, and who answered before."""
    saved = saved_settings(config, model)
    path = generations_path(config, model.name)
    if saved is None or not successors_of(config, model):
        return [model]
    if saved.config_sha256 == model.identity_sha256() and not path.exists():
        return [model]
    known = _recorded(path, saved, model) if record else _with_configured(generations(path) or [saved], model)
    by_name = {one.name(model.name): one for one in known}
    configured = next(one for one in known if one.config_sha256 == model.identity_sha256())
    promoted = Promotions(promotions_path(config, model.name)).read()
    champion = _champion(config, model.name, known)
    previous = before(promoted) if model.keep_previous else None
    names = dict.fromkeys([champion, configured.name(model.name), *([previous] if previous in by_name else [])])
    running = []
    for name in names:
        try:
            running.append(rebuilt(model, by_name[name]))
        except Unreadable as error:  # its successor answers instead
            log.error("the saved version cannot go on", model=name, problem=str(error))
        except ConfigurationError as error:
            if name == champion:
                raise
            log.error("the version before cannot go on learning", model=name, problem=str(error))
    return running


def _first(config: Config, model: ModelConfig, running: list[ModelConfig]) -> str:
    """The first version of a model: the one that answers until another is promoted. Those of a layout that is not read
    any more are none.
    """
    for one in generations(generations_path(config, model.name)):
        if not unread_layouts(one.identity):
            return one.name(model.name)
    names = [one.name for one in running]  # nothing is recorded yet
    return model.name if model.name in names else names[0]


def _recorded(path: Path, saved: Generation, model: ModelConfig) -> list[Generation]:
    """The generations, with that of the configuration, which is recorded if it is new."""
    with _turn(path):
        before = generations(path)
        known = _with_configured(before or [saved], model)
        if known != before:
            told = identity_differences(known[0].identity if not before else saved.identity, model.shown_identity())
            log.warning(
                "a model was changed: a successor is built beside the saved version",
                model=model.name,
                successor=known[-1].name(model.name),
                changed=told,
            )
            _write(path, known)
    return known


def _with_configured(known: list[Generation], model: ModelConfig) -> list[Generation]:
    if any(one.config_sha256 == model.identity_sha256() for one in known):
        return known
    number = max(one.number for one in known) + 1
    return [*known, Generation(number, model.identity_sha256(), model.shown_identity(), time.time())]


def rebuilt(model: ModelConfig, generation: Generation) -> ModelConfig:
    """The model under the settings of a generation. Raises ConfigurationError where they cannot be had any more."""
    name = generation.name(model.name)
    if generation.config_sha256 == model.identity_sha256():
        return model.model_copy(update={"name": name})
    why = "settings of it are missing, secrets say, or the weights of its encoder have changed"
    try:
        if lines := unread_layouts(generation.identity):
            raise Unreadable([f"model {name!r}: {'; '.join(lines)}"])
        made = model.under(generation.identity)
        made.new_learner()
        if made.identity_sha256() == generation.config_sha256:
            return made.model_copy(update={"name": name})
    except (ParamsError, LookupError, ValueError, OSError, ImportError) as error:
        why = str(error)
    told = "; ".join(identity_differences(generation.identity, model.shown_identity()))
    raise ConfigurationError(
        [
            f"model {model.name!r}: the saved version was made under other settings ({told}) and cannot go on under "
            f"them: {why}; put back what is missing, or give the model another name or state_dir"
        ]
    )


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """One process at a time: the server and the learner may both be the first to see a change."""
    make_folder(path.parent)
    with path.with_name(f".{path.name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, known: list[Generation]) -> None:
    beside = path.with_name(f".{path.name}.new")
    write_durably(beside, json.dumps([asdict(one) for one in known], indent=1).encode())
    beside.replace(path)
    sync_folder(path.parent)
