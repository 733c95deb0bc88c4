"""When sums of ridge may be added or subtracted: when they are functions of the events alone, not of their order.

Order decides the weight of an event that is forgotten by number, the running scale under which it is learned, and the
column of its class. Events that are forgotten by time, and features that are scaled when heads are solved, have no
order. Heads that depend on it (the passive-aggressive one, the mixture of decays, the discriminant, classes that are
away) stand beside several decays, or beside one that forgets: with `forgetting = 1` there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.models.ridge.params import Params

_BY_NUMBER = "events are forgotten by their number, and the order of events between shards is not known"
_RUNNING = "the running scale of each shard is another one"


def merged_defaults(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters that have another default where shards are merged."""
    plain = given.get("bias") is False or given.get("solver") == "recursive"
    return {"forgetting": [1.0], "standardise": False if plain else "solved"}


def merge_mistakes(params: Params) -> dict[str, str]:
    """Why sums under these parameters cannot be merged, by parameter, and what to set instead."""
    found = {}
    if params.forgetting != (1.0,):
        found["forgetting"] = f"{_BY_NUMBER}; expected 1, or half_life_seconds instead, which forgets by event time"
    if params.standardise is True:
        found["standardise"] = f'{_RUNNING}; expected "solved", which scales when heads are solved, or false'
    if params.balance == "pseudo_features":
        why = "pseudo-inputs are drawn by the order in which classes came"
        found["balance"] = f'{why}; expected "none" or "reweighted"'
    return found


def check_plain(verb: str, params: Params, faded: int) -> None:
    """Raises:
    ValueError: The sums depend on the order of events.
    """
    if params.forgetting != (1.0,):
        why = f"{_BY_NUMBER}: set forgetting = 1, or half_life_seconds"
    elif params.standardise is True:
        why = f'{_RUNNING}: set standardise = "solved" or false'
    elif faded:
        why = "forgetting was raised, by an alarm or an operator, which fades what came before"
    else:
        return
    raise ValueError(f"cannot {verb}: {why}")
