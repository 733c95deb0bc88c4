"""Promotions over HTTP: who may is in the table of roles; what is refused is what `thalweg promote` refuses."""

from __future__ import annotations

from thalweg.ops.serve.aliases import Alias
from thalweg.ops.serve.champions.takeover import cannot_take
from thalweg.ops.serve.errors import FailedPrecondition, UnknownModel
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.stream.journal.promotions import Overtaken, Promotion, before

_MOST_BEHIND_SECONDS = 60.0


def alias_of(models: Models, name: str) -> Alias:
    """The alias of this name. Raises UnknownModel, which lists the known ones."""
    for alias in models.aliases:
        if alias.name == name and isinstance(alias, Alias):
            return alias
    known = ", ".join(alias.name for alias in models.aliases)
    raise UnknownModel(f"no alias is called {name!r}; known: {known or 'none'}")


def promote(models: Models, alias: Alias, model: str | None, *, force: bool = False) -> Promotion:
    """Let a model answer under an alias; this server follows before it returns, others within a moment.

    Args:
        models: What is served.
        alias: The alias.
        model: The model; None: the champion before.
        force: Also where requests may be refused afterwards.

    Raises:
        UnknownModel: It is no model of the alias.
        FailedPrecondition: It is the champion already, there is none before, or requests would be refused afterwards.
        OSError: The promotion cannot be recorded.
    """
    if models.learned_elsewhere:
        raise FailedPrecondition(f"{alias.name}: promote on a host that learns: this one follows, and only serves")
    known = alias.record.settle(alias.configured, alias.members)
    champion, back = known[-1].champion, model is None
    wanted = before(known) if model is None else model
    if wanted is None:
        raise FailedPrecondition(f"{alias.name}: there is no champion before {champion}")
    if wanted not in alias.members or wanted not in models.by_name:
        raise UnknownModel(f"{alias.name}: {wanted!r} is none of its models; known: {', '.join(alias.members)}")
    if wanted == champion:
        raise FailedPrecondition(f"{alias.name}: {wanted} is the champion already")
    if not force and (reasons := _refusals(models.by_name[champion], models.by_name[wanted])):
        raise FailedPrecondition(f"{alias.name}: {wanted} is not promoted: {'; '.join(reasons)}")
    try:
        made = (alias.record.go_back if back else alias.record.promote)(wanted, known[-1])
    except Overtaken as error:
        raise FailedPrecondition(f"{alias.name}: {error}") from error
    models.follow()
    return made


def _refusals(champion: ServedModel, wanted: ServedModel) -> list[str]:
    """Why requests would be refused after the promotion, or be answered as of long ago."""
    if why := wanted.unready():
        return [why]
    now, then = champion.versions.newest, wanted.versions.newest
    assert then is not None
    if now is None:
        return []
    reasons = cannot_take(
        champion.schema.inputs, now.predictor.outputs, wanted.schema.inputs, set(then.predictor.outputs)
    )
    behind = now.info.as_of - then.info.as_of
    if behind > _MOST_BEHIND_SECONDS:
        what = (
            f"it is {behind:,.0f} s behind {champion.name}" if then.info.as_of else "it has not reached the log's end"
        )
        reasons.append(f"{what}: it still learns from the log")
    return reasons
