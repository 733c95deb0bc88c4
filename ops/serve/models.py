"""The served models by name, the aliases they answer under, and the sinks of their requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from thalweg.memory.audit import AuditLog
from thalweg.memory.snapshots.snapshots import FolderSnapshots, UnknownVersion
from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.bounds.micro_batches import MicroBatches, WaitingRoom
from thalweg.ops.serve.bounds.recent_answers import RecentAnswers
from thalweg.ops.serve.by_key.keys import RequestKeys, has_key
from thalweg.ops.serve.by_key.predictor import KeyedPredictor
from thalweg.ops.serve.errors import UnknownModel
from thalweg.ops.serve.following.followed import follow_learner
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.following.shards import follow_shards
from thalweg.ops.serve.versions import CURRENT, Freshness, ModelVersions, Versions, WaitSlots
from thalweg.proto.bounds.counted import counted
from thalweg.proto.rows.tensors import fitting
from thalweg.proto.schema import Array, Inputs
from thalweg.proto.task import ADAPTATION
from thalweg.stream.comparison.comparison_file import ComparisonReport
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.publication.ports import ServedVersion

_SILENT_SECONDS = 60.0
_SHOWN = 200  # characters of a name that there is not
_LOOK_SECONDS = 0.02  # between two looks for promotions


@dataclass(frozen=True, slots=True)
class RequestSinks:
    """Where requests go besides the response; each is optional."""

    buffer: RequestBuffer | None = None
    """Buffers requests until their label arrives."""
    log: RequestLog | None = None
    """Appends requests to the log as events."""

    def start(self) -> None:
        """Start accepting requests."""
        for sink in self._present():
            sink.start()

    def close(self) -> None:
        """Write queued requests once, and stop."""
        for sink in self._present():
            sink.close()

    def _present(self) -> list[RequestBuffer | RequestLog]:
        return [sink for sink in (self.buffer, self.log) if sink is not None]


class ServedModel:
    """One served model.

    Args:
        location: Where its files are.
        slots: Limits the requests that wait for its versions.
        clock: Unix seconds.
        health: The health of what watches for its versions.
        batches: Computes its predictions; None: each request alone.
        registry: Where its predictor, and what asks the log for the partitions of a model by key, report their health.
    """

    def __init__(
        self,
        location: ModelLocation,
        slots: WaitSlots | None = None,
        clock: Callable[[], float] = time.time,
        health: Health | None = None,
        batches: MicroBatches | None = None,
        registry: HealthRegistry | None = None,
    ) -> None:
        self.name = location.name
        self.buffered_as = location.name.partition("@")[0]
        """The name under which its requests wait for their labels; successors share it."""
        self.learner = location.learner
        self.topic = location.topic
        self.labels_topic = location.labels_topic
        self.schema = location.schema
        self.fit = fitting(location.schema, of_requests=True)
        """Makes inputs fit the schema where it leaves room; None: it leaves none."""
        self.max_future_seconds = location.max_future_seconds
        followed = (
            follow_learner(location, clock, health)
            if location.by_key is None
            else follow_shards(location, location.by_key, clock, health, registry)
        )
        self.freshness = followed.freshness
        """How fresh it is, and what is promised about that."""
        self.awaiting = followed.awaiting
        """The first answers that traces await; None: there are no traces."""
        self.trial = followed.trial
        """Takes rows that were answered, on which new versions are tried."""
        self.keys = (
            None
            if location.by_key is None
            else RequestKeys(location.name, location.schema.inputs, needed=location.by_key.without_key == "refuse")
        )
        """Reads the keys of its requests, by which its shards answer; None: it does not answer by key."""
        self.keyed_by_input = self.keys is not None and has_key(location.schema.inputs)
        """Whether its events have their key as an input, too."""
        self._own_versions = ModelVersions(
            location.name,
            followed.subscriber,
            FolderSnapshots(location.state),
            location.restore,
            slots or WaitSlots(),
        )
        self._own_versions.missing = followed.missing
        if location.by_key is not None:
            self._own_versions.none_kept = "versions put together from those of its shards are not kept"
        self.versions: Versions = self._own_versions
        self.answering: ServedModel = self
        """The model itself, where this is it under the name of an alias."""
        self.base = 0
        """Of an alias: what is added to the model's versions."""
        self.others: tuple[ServedModel, ...] = ()
        """Of an alias: the models that its requests wait for labels for, besides the one that answers."""
        self.tolerated: frozenset[str] = frozenset()
        """Inputs of those others: requests may have them, though this model does not take them."""
        self.copied: Callable[[Predictor, Inputs, Mapping[str, Array]], None] | None = None
        """Of an alias: takes a shadow copy of a request that was answered; None: none are taken."""
        self.batches = batches or MicroBatches(WaitingRoom(0), 1)
        """Computes its predictions."""
        self.answers = RecentAnswers(None if registry is None else registry.register("predictor", location.name))
        """How many of its recent requests were answered."""
        self.ready_after_events = location.ready_after_events
        self.learn_from_requests = location.learn_from_requests
        self._clock = clock

    def untrained(self, served: ServedVersion) -> str:
        """Why this version gives no answer: it has learned too little. Empty if it does."""
        if isinstance(served.predictor, KeyedPredictor):  # of its shards, each for itself
            return "" if served.predictor.answers else f"none of its shards gives an answer: {served.predictor.unready}"
        learned, wanted = served.info.learned_events, self.ready_after_events
        if learned >= wanted or served.predictor.task.name == ADAPTATION.name:  # that task begins with a trained model
            return ""
        some = "has learned nothing yet" if not learned else f"has learned {counted(learned, 'event')}"
        problem = self._own_versions.problem()
        return f"{some}; ready after {wanted:,} labelled event{'s' * (wanted != 1)}{'; ' * bool(problem)}{problem}"

    def told_of_learner(self, problem: Callable[[], str]) -> None:
        """From now on ask this why there are no further versions: empty while the learner works."""
        self._own_versions.problem = problem

    def needs_labels(self, task: str | None) -> bool:
        """Whether events without labels mean that something is wrong.

        Args:
            task: The name of its task, as its learner reports it; None: not known yet.
        """
        return not self.learn_from_requests and task != ADAPTATION.name

    def unready(self) -> str:
        """Why it gives no answer now; empty if it does."""
        served = self.versions.newest
        if served is not None:
            return self.untrained(served)
        problems = [self._own_versions.problem(), self._own_versions.missing()]
        return "; ".join(filter(None, ["no version is published yet", *problems]))

    def ready(self, version: int | None = None) -> bool:
        """Whether this version (None: the current one) answers. Raises UnknownVersion if there is no snapshot of it."""
        if version is None:
            return not self.unready()
        return self.versions.ready(version) and not self.untrained(self.versions.find(Freshness(as_of=version)))

    def staleness_seconds(self, served: ServedVersion) -> float:
        """Staleness of this version, in seconds."""
        return served.info.staleness_seconds(self._clock())


class Name(Protocol):
    """An alias, as `aliases.Alias` implements it."""

    name: str
    members: tuple[str, ...]
    model: ServedModel

    @property
    def promotions(self) -> int:
        """How often another model was promoted."""

    @property
    def problem(self) -> str:
        """Why a promotion has not taken effect; empty if there is none."""

    def look(self) -> bool:
        """Follow the promotions recorded since; whether another model answers now. Raises OSError."""

    def of_version(self, version: int) -> ServedModel:
        """The model that a version belongs to. Raises UnknownVersion."""

    def comparison(self) -> ComparisonReport | None:
        """How the comparison of its models stands; None if it promotes by hand alone."""

    def standing(self) -> dict[str, Any]:
        """Who answers, who has answered, and how the comparison stands, as JSON values."""


class Part(Protocol):
    """What runs beside the models."""

    def start(self) -> None:
        """Start it."""

    def close(self) -> None:
        """Stop it."""


class Models:
    """The served models by name.

    Args:
        locations: Where their files are.
        sinks: Where their requests go.
        slots: Limits the requests that wait for versions, over all models.
        registry: Where what watches for versions reports its health, as `subscriber`.
        room: Where requests wait to be computed together; None: each is computed alone.
        batch_rows: Rows computed together at most.
    """

    def __init__(
        self,
        locations: list[ModelLocation],
        sinks: RequestSinks | None = None,
        slots: WaitSlots | None = None,
        registry: HealthRegistry | None = None,
        *,
        room: WaitingRoom | None = None,
        batch_rows: int = 1,
    ) -> None:
        room = room or WaitingRoom(0)
        slots, registry = slots or WaitSlots(), registry or HealthRegistry()
        self.sinks = sinks or RequestSinks()
        self.registry = registry
        """The health of this process's parts."""
        self._models = {
            location.name: ServedModel(
                location,
                slots,
                health=registry.register("subscriber", location.name, silent_seconds=_SILENT_SECONDS),
                batches=MicroBatches(room, batch_rows),
                registry=registry,
            )
            for location in locations
        }
        self._named: dict[str, ServedModel] = dict(self._models)
        self._aliases: dict[str, Name] = {}
        self._following: SupervisedThread | None = None
        self._shadow: Part | None = None
        self.audit: AuditLog | None = None
        """Where promotions are recorded; None: nowhere."""
        self.learned_elsewhere = False
        """Whether all learners are on other hosts: promotions are made there, and received."""
        self._stopping = threading.Event()
        self.draining = False

    @property
    def by_name(self) -> Mapping[str, ServedModel]:
        """All models by their own names."""
        return self._models

    @property
    def aliases(self) -> Sequence[Name]:
        """All aliases, in the order of the configuration."""
        return list(self._aliases.values())

    def serve_under(self, aliases: Sequence[Name], shadow: Part | None = None) -> None:
        """Answer under these names, too; called before `start`. `shadow`: computes copies of their requests."""
        self._shadow = shadow
        self._aliases = {alias.name: alias for alias in aliases}
        self._named = {**self._models, **{alias.name: alias.model for alias in aliases}}

    def all(self) -> list[ServedModel]:
        """All models, in the order of the configuration."""
        return list(self._models.values())

    def named(self) -> list[ServedModel]:
        """All models by the names that clients use: those of the aliases, too."""
        return list(self._named.values())

    def find(self, name: str, version: int | None = None) -> ServedModel:
        """The model of this name, or the one that answers under it now, or with which this version was served.

        Raises:
            UnknownModel: There is none; the message lists the known ones.
            UnknownVersion: No model of the alias has the version.
        """
        model = self._named.get(name) or self._models.get(name.removesuffix("@1"))
        if model is None:
            raise UnknownModel(f"no model is called {name[:_SHOWN]!r}; known: {', '.join(self._named) or 'none'}")
        if version is not None and name in self._aliases:
            return self._aliases[name].of_version(version)
        return model

    def ready(self, name: str, freshness: Freshness = CURRENT) -> ServedModel:
        """The model for a prediction, also while draining: what was begun is answered. Raises as `find`."""
        if freshness is CURRENT:
            return self.find(name)
        model = self.find(name, freshness.as_of)
        if freshness.at_least is not None and name in self._aliases and freshness.at_least > model.base:
            with suppress(UnknownVersion):  # else it is waited for
                self._aliases[name].of_version(freshness.at_least)  # another server may have followed a promotion first
                model = self._aliases[name].model
        return model

    def answering(self, name: str) -> str:
        """The own name of the model that answers under a name; the name itself where there is none."""
        model = self._named.get(name)
        return name if model is None else model.answering.name

    def reasons(self, exempt: Container[str] = ()) -> list[str]:
        """Why some predictions are not possible now; empty when ready. Models in `exempt` count for nothing."""
        if self.draining:
            return ["the server is draining"]
        return self.unready(exempt)

    def unready(self, exempt: Container[str] = ()) -> list[str]:
        """The models that give no answer now though they are to, and why: challengers may take their time."""
        challengers = {member for alias in self.aliases for member in alias.members} - {
            alias.model.answering.name for alias in self.aliases
        }
        return [
            f"model {model.name!r}: {why}"
            for model in self.all()
            if model.name not in challengers and model.name not in exempt and (why := model.unready())
        ]

    def start(self) -> None:
        """Start watching for versions and accepting requests."""
        self.sinks.start()
        for model in self.all():
            model.versions.subscriber.start()
        if self._aliases:
            health = self.registry.register("aliases", silent_seconds=_SILENT_SECONDS)
            self._following = SupervisedThread(lambda: self._follow(health), health, "aliases", longest_wait_seconds=1)
            self._following.start()
        if self._shadow is not None:
            self._shadow.start()

    def close(self) -> None:
        """Stop watching, and write queued requests."""
        self._stopping.set()
        if self._shadow is not None:
            self._shadow.close()
        if self._following is not None:
            self._following.stop()
            self._following.join()
        for model in self.all():
            model.versions.subscriber.close()
            model.freshness.close()
            if model.awaiting is not None:
                model.awaiting.close()
        self.sinks.close()

    def follow(self) -> list[str]:
        """Let promoted models answer; the problems of those that cannot. Raises OSError."""
        for alias in self._aliases.values():
            alias.look()
            if self._named[alias.name] is not alias.model:
                self._named = {**self._named, alias.name: alias.model}  # one assignment: requests see either
        return [f"alias {alias.name!r}: {alias.problem}" for alias in self._aliases.values() if alias.problem]

    def _follow(self, health: Health) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            if problems := self.follow():
                health.degraded("; ".join(problems))
            else:
                health.running()
