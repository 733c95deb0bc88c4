"""Whether a model can answer in place of another: what requests have and ask for, and how far it has learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import Config
from thalweg.ops.run.app import new_learner
from thalweg.ops.serve.champions.takeover import cannot_take
from thalweg.proto.bounds.counted import counted
from thalweg.stream.publication.announcement import ANNOUNCEMENT, newest_slot, open_announcement
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.shards.names import shard_of

_MOST_BEHIND_SECONDS = 60.0
_LEAST_SHARE = 0.9  # of the champion's events, before it has reached the end of the log


def refusals(config: Config, champion: str, wanted: str) -> list[str]:
    """Why requests would be refused after the promotion, or be answered as of long ago."""
    found, now, then = config.find(wanted), _published(config, champion), _published(config, wanted)
    reasons = incompatible(new_learner(config.find(champion), looked_at=True), new_learner(found, looked_at=True))
    if then is None:
        elsewhere = ", and is it learned on this host" if found.scale is not None else ""
        return [*reasons, f"it has published no version: is the service running{elsewhere}?"]
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


def incompatible(champion: Learner, wanted: Learner) -> list[str]:
    """What requests to the champion have, or ask for, that the other model does not."""
    asked, answers = champion.predictor().outputs, wanted.predictor().outputs
    return cannot_take(champion.schema.inputs, list(asked), wanted.schema.inputs, set(answers))


def _published(config: Config, model: str) -> VersionInfo | None:
    """The model's published version, or what the shards that are here have published together; None: there is none."""
    live = live_folder(Path(config.service.state_dir))
    if (whole := _version(live / model)) is not None or config.find(model).sharded is None:
        return whole
    shards = [one for path in live.glob(f"{model}~*") if shard_of(path.name) and (one := _version(path)) is not None]
    if not shards:
        return None
    learned, least = sum(one.learned_events for one in shards), min(shards, key=lambda one: one.as_of)
    return replace(least, learned_events=learned)


def _version(folder: Path) -> VersionInfo | None:
    try:
        announced = open_announcement(folder / ANNOUNCEMENT)
    except FileNotFoundError:
        return None
    if announced is None:
        return None
    with announced:
        slot = newest_slot(announced[:])
    return None if slot is None else slot.info
