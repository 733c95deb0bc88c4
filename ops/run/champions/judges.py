"""The judge of an alias that promotes by a test, as configured."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from thalweg.memory.audit import Actor, audit_log
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.config import Config
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.champions.losses import comparison_path, losses_folder
from thalweg.ops.run.champions.promotable import incompatible, refusals
from thalweg.ops.run.successors import promotions_path
from thalweg.proto.task import task_of
from thalweg.stream.comparison.judge import Judge, JudgeSettings
from thalweg.stream.comparison.losses import NoSuchLoss, range_of
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.promotions import Promotions


def judge_of(config: Config, alias: AliasConfig, health: Health) -> Judge:
    """The judge of an alias."""
    settings = JudgeSettings(
        alias=alias.name,
        champion=alias.champion,
        members=alias.members,
        alpha=alias.alpha,
        loss=alias.loss,
        losses={name: losses_folder(config, alias, name) for name in alias.members},
        comparison=comparison_path(config, alias.name),
        left_out=partial(left_out, config, alias),
        loss_range=partial(_loss_range, config, alias),
        promoted=partial(_record, config, alias.name),
        refusals=partial(refusals, config),
    )
    return Judge(settings, Promotions(promotions_path(config, alias.name)), health)


def _record(config: Config, alias: str, champion: str, challenger: str, events: int) -> None:
    """Tell the audit log of a promotion by the test."""
    audit_log(config.service.state_dir, told=False).record(
        "promote",
        Actor("the comparison", "service"),
        "done",
        subject=alias,
        arguments={"model": challenger},
        detail=f"better than {champion} over {events:,} events",
    )


def left_out(config: Config, alias: AliasConfig, champion: str, challenger: str) -> str:
    """Why two models cannot be compared; empty if they can."""
    ours, theirs = (new_learner(config.find(one), looked_at=True) for one in (champion, challenger))
    task, other = task_of(ours.predictor()), task_of(theirs.predictor())
    if (task.label, task.answer) != (other.label, other.answer):
        return f"its task is {other.name}, that of {champion} is {task.name}"
    try:
        for one in (task, other):
            range_of(one, alias.loss)
    except NoSuchLoss as error:
        return str(error)
    mine, its = config.find(champion).classes, config.find(challenger).classes
    if mine and its and set(mine) != set(its):
        return f"its classes are {', '.join(its)}, those of {champion} are {', '.join(mine)}"
    return "; ".join(incompatible(ours, theirs))


def not_compared(config: Config) -> Iterator[str]:
    """For people: the challengers that a test would have to leave out, and why."""
    for alias in config.alias if config.model else ():
        for name in alias.challengers if alias.promotion == "auto" else ():
            if why := left_out(config, alias, alias.champion, name):
                yield f"alias {alias.name!r}: {name!r} is not compared with {alias.champion!r}: {why}"


def _loss_range(config: Config, alias: AliasConfig, champion: str) -> tuple[float, float]:
    try:
        return range_of(task_of(new_learner(config.find(champion), looked_at=True).predictor()), alias.loss)
    except NoSuchLoss:  # every challenger is left out for it
        return 0.0, 1.0
