"""Settings of how a model consumes its topics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from thalweg.memory.snapshots.manifest import Manifest
from thalweg.models.contract.layouts import KEY as LAYOUTS
from thalweg.models.contract.layouts import newer_layouts, newer_revisions, unread_layouts
from thalweg.models.parts.settings import Count, NotNegative, Positive, Settings, Share, Whole
from thalweg.proto.bounds.limits import MAX_FUTURE_SECONDS, MAX_WEIGHT
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.freshness.params import WAITING_SECONDS
from thalweg.stream.learn.micro_batches.size import LARGEST, USUAL
from thalweg.stream.log.log import Start

_DRIFT = DriftParams()
_SHA256 = re.compile("[0-9a-f]{64}")


class LearnSettings(Settings):
    """The part of `[[model]]` that says how a model consumes its topics."""

    start: Start = "earliest"
    """Where a model without a snapshot starts."""
    batch_events: Count | Literal["auto"] = "auto"
    """Most events per micro-batch. `auto`: by rate, 1 while the stream is slow, up to 256 while more events wait than
    are learned within half of the time that `[model.freshness]` promises, or a second; always 64 for `cotta` and
    `prompt_tpp`, which learn by steps."""
    batch_seconds: NotNegative = 0.05
    """The longest time that events are collected for a micro-batch while more keep arriving; at most a tenth of the
    time that `[model.freshness]` promises. A single event is learned at once."""
    snapshot_events: Count = 10_000
    """Save a snapshot after this many events …"""
    snapshot_seconds: NotNegative = 30.0
    """… or after this long; less often if saving would take more than a tenth of the time."""
    dedup_events: Whole = 65_536
    """Duplicates are recognised by id among this many newest ids; 0: never."""
    max_future_seconds: NotNegative = MAX_FUTURE_SECONDS
    """Events dated further ahead of their record's timestamp are invalid; a replay under another value may differ."""
    max_weight: Positive = MAX_WEIGHT
    """Events with a larger weight are invalid, because a few of them would outweigh all that the model has learned; a
    replay under another value may differ."""
    publish_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The share of the time that publishing versions may take."""
    quarantine_share: Share = 0.1
    """The model stops, and waits for `thalweg resume`, when it cannot learn more than this share of the newest events;
    1: never."""
    quarantine_window_events: Count = 1000
    """How many of the newest events that share is taken of."""
    quarantine_least_events: Count = 10
    """Fewer events than this that cannot be learned never stop the model."""
    undecodable_share: Share = 0.5
    """The model stops, too, when it cannot decode more than this share of the newest 1,000 records; 1: never."""


class ProcessorSettings(LearnSettings):
    """Settings of one processor."""

    model: str = "model"
    """The model's name, for manifests and logs."""
    topic: str = "events"
    """The topic of the events."""
    joined_topic: str = ""
    """The topic of events joined with late labels; empty: labels arrive with their events."""
    learner: str = ""
    """The learner's registered name, for manifests."""
    config_sha256: str = ""
    """Hash of the settings that determine the state; a state saved under another hash is refused."""
    max_record_bytes: int = 64 << 20
    """Larger records are not decoded; they become dead letters."""
    moves: bool = False
    """Between hosts, by `[model.scale]`: nothing is built beside it. For what people are told."""
    state_url: str = ""
    """The object store that has the state, too; empty: its folder alone. For what people are told."""
    identity: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """The settings under `config_sha256`, secrets masked, for manifests."""
    revisions: dict[str, int] = {}  # noqa: RUF012 - pydantic copies it
    """The revisions of the layouts of its state, where they are not the first, for manifests."""
    fields: FieldMapping | None = None
    """Where the parts of an event stand in a record; None: in our own event form."""
    classes: tuple[str, ...] = ()
    """The declared names of its classes, or of 0 and 1; empty: those of the learner, if it has any."""
    block_bytes: int = 4 << 20
    """Approximate number of bytes read from the log at once."""
    least_batch_events: Count = 1
    """The micro-batch of `batch_events = "auto"` for a learner that learns by steps: its own; 1: any size."""
    forgetting_factor: float = _DRIFT.forgetting_factor
    """On a drift alarm with this action, earlier events count less by this factor …"""
    forgetting_events: int = _DRIFT.forgetting_events
    """… for this many events."""
    waiting_seconds: Positive = WAITING_SECONDS
    """All that waits should be learned within this time; while it would be, `auto` keeps micro-batches small."""
    idle_seconds: float = 0.05
    """How long to wait for records before doing other work."""

    def schema_of(self, schema: Schema) -> Schema:
        """The schema of the model's events, from that of its learner: whatever reads a record of them reads by this."""
        classes = self.classes or schema.classes
        return replace(schema, fields=self.fields, classes=classes, max_weight=self.max_weight)

    @property
    def elsewhere(self) -> str:
        """Where else the model would begin anew, for people: a state in an object store follows it into any folder."""
        return "another service.state_url with another state_dir" if self.state_url else "another state_dir"

    @property
    def file_batch_events(self) -> int:
        """Events per micro-batch of a file, where nothing waits and no clock may count: row by row under `auto`."""
        return self.least_batch_events if self.batch_events == "auto" else self.batch_events

    @property
    def history_batch_events(self) -> int:
        """Events per micro-batch of recorded events that are learned before those of the log."""
        return self._by_steps(USUAL) if self.batch_events == "auto" else self.batch_events

    @property
    def most_batch_events(self) -> int:
        """Most events per micro-batch."""
        return self._by_steps(LARGEST) if self.batch_events == "auto" else self.batch_events

    def _by_steps(self, others: int) -> int:
        """The learner's own size if it learns by steps, else that of others."""
        return self.least_batch_events if self.least_batch_events > 1 else others

    @property
    def topics(self) -> list[str]:
        """All topics that the model consumes."""
        return [self.topic, *([self.joined_topic] if self.joined_topic else [])]

    @property
    def group(self) -> str:
        """The consumer group under which positions are committed, for monitoring tools."""
        return f"thalweg.{self.model}"


def identity_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences between the settings of a saved state and the present ones, a line for each key that differs.

    Args:
        old: `identity` of a manifest; empty in manifests from versions without it.
        new: `identity` of the settings.
    """
    if not old:
        return []
    was, now = dict(_leaves(_without_encoder(old))), dict(_leaves(_without_encoder(new)))
    made = [
        key for key in was.keys() | now.keys() if key.startswith(_MAKES_AN_ENCODER) and was.get(key) != now.get(key)
    ]
    otherwise = _encoder_difference(_encoder(old), _encoder(new))
    return [*unread_layouts(old), *(otherwise if not made or _encoder(old)[0] != _encoder(new)[0] else [])] + [
        f"{key}: was {was.get(key, 'not given')}, is {now.get(key, 'not given')}"
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]


_MAKES_AN_ENCODER = ("encoder_arguments.", "weights_strict")
"""Keys that are part of an encoder's hash, and named themselves where they differ."""


def _without_encoder(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in ("encoder", "encoder_sha256", "weights", LAYOUTS)}


def _encoder(table: Mapping[str, Any]) -> tuple[str, str]:
    """Name and hash of the encoder; without a name in older manifests, which hold only the hash."""
    name, sha256 = table.get("encoder", ""), table.get("encoder_sha256", "")
    return ("", name) if _SHA256.fullmatch(name) else (name, sha256)


def _encoder_difference(old: tuple[str, str], new: tuple[str, str]) -> list[str]:
    (was, was_sha256), (now, now_sha256) = old, new
    if was_sha256 == now_sha256 and (was == now or was_sha256):
        return []
    if was == now != "":
        return [f"encoder: {json.dumps(now)} with other weights"]
    shown = [json.dumps(name) if name else "another" if sha256 else "not given" for name, sha256 in (old, new)]
    return [f"encoder: was {shown[0]}, is {shown[1]}"]


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


class StateMismatch(Exception):
    """The saved state was made with other settings; the message says what to do."""


class NewerState(StateMismatch):
    """The saved state is one of a newer version of the software, which other processes may have."""


def check_settings(manifest: Manifest, settings: ProcessorSettings) -> None:
    """Raise StateMismatch if a version was made under other settings, with each that differs, or is of a newer version
    of the software, which this one cannot read.
    """
    wanted, got = settings.config_sha256, manifest.config_sha256
    if wanted != got and (layouts := unread_layouts(manifest.identity)):
        built = (
            "" if settings.moves else "with on_change = 'successor' the service builds a successor from the log; else "
        )
        raise (NewerState if newer_layouts(manifest.identity) else StateMismatch)(
            f"model {settings.model!r}: the saved state (version {manifest.version}) has {'; '.join(layouts)}; {built}"
            f"give the model a new name or {settings.elsewhere} (it then learns its topic from the start), or go back "
            f"to the version of thalweg that saved it"
        )
    if wanted != got:
        differences = identity_differences(manifest.identity, settings.identity)
        hashes = f"hash {got[:12] or 'none'}, now {wanted[:12] or 'none'}"
        raise StateMismatch(
            f"model {settings.model!r}: the saved state (version {manifest.version}) was made under other settings "
            f"({'; '.join(differences) or hashes}); give the model a new name or {settings.elsewhere} (it "
            f"then learns its topic from the start), or put the old settings back"
        )
    if newer := newer_revisions(manifest.revisions, settings.learner):
        raise NewerState(
            f"model {settings.model!r}: the saved state (version {manifest.version}) has {'; '.join(newer)}: go back "
            f"to the version of thalweg that saved it, or give the model a new name or {settings.elsewhere} (it then "
            f"learns its topic from the start)"
        )


def not_restorable(manifest: Manifest, error: Exception) -> StateMismatch:
    """The error where a learner does not take a state of its settings, as after an update, or before it, in which a
    default or the form of the state changed.
    """
    said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"  # a missing part's name
    return StateMismatch(
        f"model {manifest.model!r}: the saved state (version {manifest.version}) cannot be restored: {said}; "
        f"give the model one of the parameters that differ in [model.params], also with its default: "
        f"a successor is then built from the log, for `thalweg promote`; or go back to the version of thalweg "
        f"that saved it"
    )
