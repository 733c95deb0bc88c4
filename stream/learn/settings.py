"""How one model follows its topic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from thalweg.models.parts.settings import Count, NotNegative, Settings, Whole
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.log.log import Start

_DRIFT = DriftParams()


class LearnSettings(Settings):
    """What a configuration says of how a model follows its topic; part of `[[model]]`."""

    start: Start = "earliest"
    """Where a model without a snapshot starts."""
    batch_events: Count = 64
    """Most events per micro-batch."""
    batch_seconds: NotNegative = 0.05
    """The longest time that events are collected for a micro-batch while more keep arriving. A single event is learned
    at once."""
    snapshot_events: Count = 10_000
    """Save a snapshot after this many events …"""
    snapshot_seconds: NotNegative = 30.0
    """… or after this long; less often if saving would take more than a tenth of the time."""
    dedup_events: Whole = 65_536
    """Duplicates are recognised by id among this many newest ids; 0: never."""
    publish_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The share of the time that publishing versions may take."""


class ProcessorSettings(LearnSettings):
    """Settings of one processor."""

    model: str = "model"
    """The model's name, for manifests and logs."""
    topic: str = "events"
    """Where its events are."""
    joined_topic: str = ""
    """Where events are that were joined with labels that came later; empty: labels come with their events."""
    learner: str = ""
    """The learner's registered name, for manifests."""
    config_sha256: str = ""
    """Over the settings that make the state what it is; a state saved under another one is refused."""
    max_record_bytes: int = 64 << 20
    """Larger records are not decoded: they are dead letters."""
    identity: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """Those settings, secrets masked, for manifests."""
    block_bytes: int = 4 << 20
    """About how much is taken from the log at once."""
    forgetting_factor: float = _DRIFT.forgetting_factor
    """On an alarm of drift, where forgetting is raised then: what was learned counts so many times less …"""
    forgetting_events: int = _DRIFT.forgetting_events
    """… for so many events."""
    idle_seconds: float = 0.05
    """How long to wait for records before looking after other things."""

    @property
    def topics(self) -> list[str]:
        """All that are followed."""
        return [self.topic, *([self.joined_topic] if self.joined_topic else [])]

    @property
    def group(self) -> str:
        """The consumer group that positions are committed to, for those who look on."""
        return f"thalweg.{self.model}"


def identity_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a state was made under and what is configured now, a line for each key that differs.

    Args:
        old: `identity` of a manifest; empty in manifests from before there was one.
        new: `identity` of the settings.
    """
    was, now = dict(_leaves(old)), dict(_leaves(new))
    if not old:
        return []
    return [
        f"{key}: was {was.get(key, 'not given')}, is {now.get(key, 'not given')}"
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)
