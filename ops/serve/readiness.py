"""What this service tells of its health, everywhere: one joined view of the parts of all its processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from thalweg.memory.kept_folders import PUT_BACK
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.process_health import is_process
from thalweg.ops.telemetry.processes import server_processes
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import ComponentHealth, Condition, HealthRegistry, joined
from thalweg.stream.shards.names import shard_of

LOG = "log"
"""The component that stands for the log, as this process reaches it."""
STATE_FOLDER = "state_folder"
"""The component that stands for the folder which holds state, published versions and, by default, log and store."""


class ServiceHealth:
    """The only source of readiness, health, component metrics and the page's sentences. Thread-safe.

    Args:
        models: The served models.
        registry: The health of this process's parts.
        learners: The learner processes; None: nothing is known of any (a test, a notebook).
        probes: Keep the health of outside parts up to date; started and closed with the server.
        live: The folder with what the supervisor tells of the server processes; None: it is not looked for.
    """

    def __init__(
        self,
        models: Models,
        registry: HealthRegistry | None = None,
        learners: LearnerProcesses | None = None,
        probes: Sequence[Probe] = (),
        live: Path | None = None,
    ) -> None:
        self.registry = registry or HealthRegistry()
        self.learners = learners
        self._models = models
        self._probes = probes
        self._live = live
        if learners is not None:
            for model in models.all():
                if isinstance(model, ServedModel):
                    model.told_of_learner(partial(self.learner_problem, model.name))

    def start(self) -> None:
        """Start the probes."""
        for probe in self._probes:
            probe.start()

    def close(self) -> None:
        """Stop the probes."""
        for probe in self._probes:
            probe.close()

    def learner_role(self, model: str) -> str:
        """What the learner process of a model is called; of several, the first; empty if nothing is known of any."""
        return "" if self.learners is None else self.learners.of(model)[0].role

    def learner_problem(self, model: str) -> str:
        """Why the learner of a model stands still, though its process runs: that of a stopped one says what to do.
        Empty if it does not.
        """
        if self.learners is None or self.learners.problem(model):
            return ""
        failed = [
            one
            for one in self.learners.components()
            if one.component == "learner" and one.state is Condition.FAILED and model_of(one) == model
        ]
        if not failed:
            return ""
        whose = "its learner" if failed[0].model == model else f"the learner of {failed[0].model!r}"
        return f"{whose} stands still: {failed[0].reason}"

    def components(self) -> tuple[ComponentHealth, ...]:
        """Every part of all processes, and a learner of every model, whether it was heard of or not."""
        theirs = self.learners.components() if self.learners is not None else ()
        servers = server_processes(self._live)
        own = self.registry.report()
        return joined([*([] if servers is None else [servers]), *own, *theirs, *self._unheard(theirs)])

    def _unheard(self, theirs: Sequence[ComponentHealth]) -> Iterator[ComponentHealth]:
        """The learners of which nothing was heard: they are as their process is."""
        known = {model_of(one) for one in theirs if one.component == "learner"}
        processes = {one.component: one for one in theirs if is_process(one.component)}
        for model in self._models.all():
            for place in self._places(model.name)[:1] if model.name not in known else ():
                process = processes[place]
                state = process.state if process.state is not Condition.RUNNING else Condition.STARTING
                yield replace(process, component="learner", model=model.name, state=state, restarts=0)

    def _places(self, model: str) -> list[str]:
        """The components that stand for the learner processes that have a model."""
        return [] if self.learners is None else [process.component for process in self.learners.of(model)]

    def by_model(self) -> dict[str, list[ComponentHealth]]:
        """The parts of each model, and what all of them depend on: the learner process that has it."""
        components = self.components()
        processes = {one.component: one for one in components if is_process(one.component)}
        found: dict[str, list[ComponentHealth]] = {model.name: [] for model in self._models.all()}
        for one in components:
            if (model := model_of(one)) in found:
                found[model].append(one)
        for name, parts in found.items():
            parts += [processes[place] for place in self._places(name)]
        return found

    def degraded(self) -> list[str]:
        """What does not work as it should, one text each: of a process that is gone, not each of its parts; of a state
        folder that is away, nothing else that is away with it.
        """
        return self._models.unready() + [sentence(one) for one in causes(self.components())]

    def readiness(self, *, untrained: bool = True) -> dict[str, Any]:
        """The content of `/readyz`.

        Args:
            untrained: Whether models count that no waiting makes answer: those that have learned too little, or whose
                learner has failed. Without them it says whether callers may come: their events may be what is missing.
        """
        reasons = self._models.reasons(() if untrained else self._untrained())
        return {
            "ready": not reasons,
            "reasons": reasons,
            "degraded": self.degraded(),
            "components": [one.record() for one in self.components()],
        }

    def _untrained(self) -> frozenset[str]:
        return frozenset(
            model.name
            for model in self._models.all()
            if model.versions.newest is not None or self.learner_problem(model.name)
        )

    def failures(self) -> list[str]:
        """Parts of this process that have failed: a restart of the process is due."""
        outside = {probe.component for probe in self._probes if not probe.restart_helps}
        if (requests := self._models.sinks.log) is not None and not requests.restart_helps:
            outside.add("request_log")
        failed = [one for one in self.registry.report() if one.state is Condition.FAILED]
        return [sentence(one) for one in failed if one.component not in outside]

    def serving(self) -> dict[str, bool]:
        """For gRPC health: each model, whether it answers; and `MODEL/learning`, whether all of its parts are well."""
        return self.answering() | self.learning()

    def answering(self) -> dict[str, bool]:
        """Of each model and alias, whether it answers."""
        names = {model.name: not self._models.draining and not model.unready() for model in self._models.all()}
        return names | {alias.name: names[alias.model.answering.name] for alias in self._models.aliases}

    def learning(self) -> dict[str, bool]:
        """Of each model and alias as `NAME/learning`, whether all of its parts are well."""
        well = {name: all(one.well for one in parts) for name, parts in self.by_model().items()}
        well |= {alias.name: well[alias.model.answering.name] for alias in self._models.aliases}
        return {f"{name}/learning": one for name, one in well.items()}

    def log_up(self) -> bool | None:
        """Whether this process reaches the log, or a part of it; None: nobody asks."""
        for one in self.registry.report():
            if one.component == LOG:
                return one.state in (Condition.RUNNING, Condition.STARTING, Condition.DEGRADED)
        return None


def causes(components: Iterable[ComponentHealth]) -> Iterator[ComponentHealth]:
    """Those that are not well, without what follows from another one that is not."""
    ill = [one for one in components if not one.well]
    away = any(one.component == STATE_FOLDER and PUT_BACK in one.reason for one in ill)
    silent = {one.reason for one in ill if is_process(one.component)}
    for one in ill:
        if away and (one.reason in silent or (PUT_BACK in one.reason and one.component != STATE_FOLDER)):
            continue  # learner processes cannot be heard of either: what they write is in it
        if is_process(one.component) or one.reason not in silent:
            yield one


def model_of(one: ComponentHealth) -> str:
    """The model that it is a part of: of a part of a shard, the shard's model."""
    shard = shard_of(one.model)
    return one.model if shard is None else shard[0]


def sentence(one: ComponentHealth) -> str:
    """What is wrong with a part, for people."""
    what = one.component.replace("_", " ")
    return f"model {one.model!r}: {what} {one.state.value}: {one.reason}" if one.model else f"{what}: {one.reason}"
