"""`thalweg promote`: another model answers under an alias, or the one before again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from thalweg.memory.audit import audit_log, os_user
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import model_folder
from thalweg.ops.run.champions.losses import comparison_path
from thalweg.ops.run.champions.promotable import refusals
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.shards.known import must_be_one
from thalweg.ops.run.successors import generations, generations_path, promotions_path, with_successors
from thalweg.ops.serve.champions.standing import ComparisonFile, evidence
from thalweg.ops.telemetry.status import Statuses
from thalweg.proto.bounds.counted import counted
from thalweg.stream.journal.promotions import Overtaken, Promotions, before
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.shards.names import family_of


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
    if config.service.role == "serve":
        raise Failed("promote on a host that learns: this one follows, and only serves (service.role)")
    given, config = config, with_successors(config, record=False)
    if alias is None:
        assert model is not None
        _no_alias(given, model)
        if given.find(model).sharded is not None:  # says which models there are
            _no_shards(given, model, back=back)
        _has_successor(config, model, back=back)
        alias, model = model, None if back else _successor(given, config, model)
    found = config.find_alias(alias)
    promotions = Promotions(promotions_path(config, alias))
    try:
        known = promotions.settle(found.champion, found.members)
        champion = known[-1].champion
        wanted = _wanted(found, champion, model, before(known), back=back)
        if not force and (reasons := refusals(config, champion, wanted)):
            lines = "".join(f"\n  {reason}" for reason in reasons)
            raise Failed(f"{alias}: {wanted} is not promoted; --force does it all the same:{lines}")
        for line in (*_compared(config, [champion, wanted]), *_tested(config, alias)):
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


def _no_alias(given: Config, name: str) -> None:
    """Where an alias was given as a model, say how it is given."""
    if found := next((one for one in given.alias if one.name == name), None):
        hint = f"give --alias {name} with --model and one of its models ({', '.join(found.members)}), or with --back"
        raise ConfigurationError([f"{name!r} is an alias: {hint}"])


def _no_shards(given: Config, name: str, *, back: bool) -> None:
    """Where a model of shards was given alone, or one of them, say that it has no successor."""
    whole = family_of(name)
    try:
        must_be_one(given, name, asks="they are")
        text = f"{name!r} is a shard of model {whole!r}, which has no successor"
    except ConfigurationError as error:
        text = f"{error}"
    options = [f"--alias {one.name} {'--back' if back else f'--model {whole}'}" for one in given.alias]
    members = [option for option, one in zip(options, given.alias) if whole in one.members]
    hint = f"give {' or '.join(members)}" if members else "give a changed model another name"
    raise ConfigurationError([f"{text}; no successor is built beside shards, so nothing is there to promote: {hint}"])


def _has_successor(config: Config, name: str, *, back: bool) -> None:
    """Where a model of an alias was given alone, say how it is promoted."""
    if any(alias.name == name for alias in config.alias):
        return
    under = [alias.name for alias in config.alias if name in alias.members]
    options = " or ".join(f"--alias {alias} {'--back' if back else f'--model {name}'}" for alias in under)
    hint = f"; it is a model of an alias: give {options}" if under else ""
    raise Failed(f"model {name!r} has no successor: its settings are those of its state{hint}")


def _successor(given: Config, config: Config, name: str) -> str:
    """The model with the settings of the configuration."""
    wanted = given.find(name).identity_sha256()
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


def _tested(config: Config, alias: str) -> list[str]:
    """A line per challenger that a test compares with the champion: by how much it is better, and what that shows."""
    if (report := ComparisonFile(comparison_path(config, alias)).read()) is None:
        return []
    return [
        f"{test.challenger}: on {counted(test.sums.events, 'event')} compared with {report.comparison.champion}, a "
        f"loss that is {abs(test.sums.mean):.3g} {'lower' if test.sums.mean > 0 else 'higher'}; "
        f"{100 * evidence(test):.0f} % of the evidence that promotes it"
        for test in report.comparison.tests
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
