"""`thalweg promote`: another model answers under an alias, or the one before again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from thalweg.memory.audit import audit_log, os_user
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import model_folder, new_learner
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.successors import generations, generations_path, promotions_path, with_successors
from thalweg.ops.telemetry.status import Statuses
from thalweg.proto.bounds.counted import counted
from thalweg.proto.schema import TensorSpec
from thalweg.stream.journal.promotions import Overtaken, Promotions, before
from thalweg.stream.publication.announcement import ANNOUNCEMENT, newest_slot, open_announcement
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.publication.ports import VersionInfo

_MOST_BEHIND_SECONDS = 60.0
_LEAST_SHARE = 0.9  # of the champion's events, before it has reached the end of the log


def promote(config: Config, alias: str | None, model: str | None, *, back: bool, force: bool) -> None:
    """Promote a model, or go back to the champion before; running servers follow at once, and later ones begin so.

    Args:
        config: The configuration.
        alias: The alias; None: `model` names the model whose successor is promoted.
        model: The model of the alias; None with `back`.
        back: Go back to the champion before.
        force: Also where requests may be refused afterwards.

    Raises:
        ConfigurationError: There is no such alias, or no such model in it.
        Failed: Requests would be refused afterwards, there is nothing to go back to, or it cannot be written.
    """
    given, config = config, with_successors(config, record=False)
    if alias is None:
        assert model is not None
        given.find(model)  # says which models there are
        alias, model = model, None if back else _successor(given, config, model)
    found = config.find_alias(alias)
    promotions = Promotions(promotions_path(config, alias))
    try:
        known = promotions.settle(found.champion, found.members)
        champion = known[-1].champion
        wanted = _wanted(found, champion, model, before(known), back=back)
        if not force and (reasons := _refusals(config, champion, wanted)):
            lines = "".join(f"\n  {reason}" for reason in reasons)
            raise Failed(f"{alias}: {wanted} is not promoted; --force does it all the same:{lines}")
        for line in _compared(config, [champion, wanted]):
            print(line)
        asked = {"from": champion, "to": wanted, "back": back, "force": force}
        audit = audit_log(config.service.state_dir, told=False)
        audited = partial(audit.record, "promote", os_user(), subject=alias, arguments=asked)
        try:
            done = (promotions.go_back if back else promotions.promote)(wanted, known[-1])
        except (OSError, Overtaken) as error:
            audited("failed", detail=str(error))
            raise
    except (OSError, Overtaken) as error:
        raise Failed(f"{alias}: {error}") from error
    audited("done", detail=f"promotion {done.number}")
    print(f"{alias}: {done.champion} answers in place of {champion} (promotion {done.number})")


def _successor(given: Config, config: Config, name: str) -> str:
    """The model with the settings of the configuration."""
    wanted = given.find(name).identity_sha256()
    if all(alias.name != name for alias in config.alias):
        raise Failed(f"model {name!r} has no successor: its settings are those of its state")
    return next(one.name for one in config.model if one.served_name == name and one.identity_sha256() == wanted)


def _wanted(alias: AliasConfig, champion: str, model: str | None, previous: str | None, *, back: bool) -> str:
    if back:
        if previous is None:
            raise Failed(f"{alias.name}: there is no champion before {champion}")
        if previous not in alias.members:
            raise Failed(f"{alias.name}: the champion before, {previous}, is no model of the alias any more")
        return previous
    if model not in alias.members:
        known = ", ".join(alias.members)
        raise ConfigurationError([f"alias {alias.name!r}: {model!r} is none of its models; known: {known}"])
    if model == champion:
        raise Failed(f"{alias.name}: {model} is the champion already")
    assert model is not None
    return model


def _refusals(config: Config, champion: str, wanted: str) -> list[str]:
    """Why requests would be refused after the promotion, or be answered as of long ago."""
    found, now, then = config.find(wanted), _published(config, champion), _published(config, wanted)
    reasons = _cannot_take(new_learner(config.find(champion)), new_learner(found))
    if then is None:
        return [*reasons, "it has published no version: is the service running?"]
    wanting = 0 if found.learn_from_requests else found.ready_after_events
    if then.learned_events < wanting:
        reasons.append(f"it has learned {counted(then.learned_events, 'event')}, and is ready after {wanting:,}")
    if now is not None and now.as_of - then.as_of > _MOST_BEHIND_SECONDS:
        reasons.append(
            f"it is {now.as_of - then.as_of:,.0f} s behind {champion}: it still learns from the log"
            if then.as_of
            else f"it still learns from the log, and {champion} has reached its end"
        )
    elif now is not None and not then.as_of and then.learned_events < _LEAST_SHARE * now.learned_events:
        reasons.append(  # after a restart the champion may not have reached the end either
            f"it still learns from the log: {counted(then.learned_events, 'event')}, of which {champion} has learned "
            f"{now.learned_events:,}"
        )
    return reasons


def _cannot_take(champion: Learner, wanted: Learner) -> list[str]:
    """What requests to the champion have, or ask for, that the other model does not."""
    reasons = []
    known = champion.schema.inputs
    for name, spec in wanted.schema.inputs.items():
        if name not in known and not spec.optional:
            reasons.append(f"it takes an input {name!r} that requests do not have now")
        elif name in known and _kind(known[name]) != _kind(spec):
            reasons.append(f"input {name!r}: it takes {_text(spec)}, requests have {_text(known[name])}")
    answered = wanted.predictor().outputs
    reasons += [f"it has no output {name!r}" for name in champion.predictor().outputs if name not in answered]
    return reasons


def _kind(spec: TensorSpec) -> tuple[str, tuple[int, ...]]:
    return spec.dtype, spec.shape


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def _published(config: Config, model: str) -> VersionInfo | None:
    """The model's published version; None if there is none."""
    try:
        announced = open_announcement(live_folder(Path(config.service.state_dir)) / model / ANNOUNCEMENT)
    except FileNotFoundError:
        return None
    if announced is None:
        return None
    with announced:
        slot = newest_slot(announced[:])
    return None if slot is None else slot.info


def _compared(config: Config, models: list[str]) -> list[str]:
    """A line per model: what its predictions were worth, each graded before it was learned."""
    statuses = Statuses(live_folder(Path(config.service.state_dir)))
    found = [config.find(name) for name in models]
    begun = [(model.name, one) for model in found for one in generations(generations_path(config, model.served_name))]
    return [f"{model.name}: {_figures(statuses.of(model.name), config, model)}" for model in found] + [
        f"{name}: built from offset {first} of {place} on; earlier records were deleted"
        for name, one in begun
        if one.name(name.partition("@")[0]) == name
        for place, first in one.begins.items()
    ]


def _figures(status: dict[str, Any] | None, config: Config, model: ModelConfig) -> str:
    if status is None or not status.get("metrics"):
        kept = FolderSnapshots(model_folder(config, model)).manifests()
        status = {"metrics": dict(kept[-1].metrics), "recent": dict(kept[-1].recent)} if kept else {}
    metrics, recent = status.get("metrics", {}), status.get("recent", {})
    if not metrics:
        return "nothing graded yet"
    return ", ".join(
        f"{name} {_number(value)}" + (f" (recent {_number(recent[name])})" if name in recent else "")
        for name, value in sorted(metrics.items())
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else json.dumps(value)
