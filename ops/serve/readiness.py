"""What this service tells of its health, everywhere: one joined view of the parts of both processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.telemetry.process_health import PROCESS, LearnerProcess
from thalweg.ops.telemetry.processes import server_processes
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import ComponentHealth, Condition, HealthRegistry, joined
from thalweg.stream.shards.names import shard_of

LOG = "log"
"""The component that stands for the log, as this process reaches it."""


class ServiceHealth:
    """The only source of readiness, health, component metrics and the page's sentences. Thread-safe.

    Args:
        models: The served models.
        registry: The health of this process's parts.
        learners: The learner process; None: nothing is known of one (a test, a notebook).
        probes: Keep the health of outside parts up to date; started and closed with the server.
        live: The folder with what the supervisor tells of the server processes; None: it is not looked for.
    """

    def __init__(
        self,
        models: Models,
        registry: HealthRegistry | None = None,
        learners: LearnerProcess | None = None,
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

    def learner_problem(self, model: str) -> str:
        """Why the learner of a model stands still, though its process runs: that of a stopped one says what to do.
        Empty if it does not.
        """
        if self.learners is None or self.learners.problem:
            return ""
        failed = [
            one
            for one in self.learners.components()
            if one.component == "learner" and one.state is Condition.FAILED and is_part_of(one, model)
        ]
        if not failed:
            return ""
        whose = "its learner" if failed[0].model == model else f"the learner of {failed[0].model!r}"
        return f"{whose} stands still: {failed[0].reason}"

    def components(self) -> tuple[ComponentHealth, ...]:
        """Every part of both processes, and a learner of every model, whether it was heard of or not."""
        theirs = self.learners.components() if self.learners is not None else ()
        learners = [one for one in theirs if one.component == "learner"]
        unheard = [
            ComponentHealth(
                component="learner",
                model=model.name,
                state=process.state if process.state is not Condition.RUNNING else Condition.STARTING,
                reason=process.reason,
                since=process.since,
                restarts=0,
            )
            for process in theirs[:1]
            for model in self._models.all()
            if not any(is_part_of(one, model.name) for one in learners)
        ]
        servers = server_processes(self._live)
        return joined([*([] if servers is None else [servers]), *self.registry.report(), *theirs, *unheard])

    def by_model(self) -> dict[str, list[ComponentHealth]]:
        """The parts of each model, and what all of them depend on: the learner process."""
        components = self.components()
        shared = [one for one in components if one.component == PROCESS]
        return {
            model.name: [one for one in components if is_part_of(one, model.name)] + shared
            for model in self._models.all()
        }

    def degraded(self) -> list[str]:
        """What does not work as it should, one text each; of a process that is gone, not each of its parts."""
        components = self.components()
        dead = {one.reason for one in components if one.component == PROCESS and not one.well}
        return self._models.unready() + [
            sentence(one) for one in components if not one.well and (one.component == PROCESS or one.reason not in dead)
        ]

    def readiness(self) -> dict[str, Any]:
        """The content of `/readyz`."""
        reasons = self._models.reasons()
        return {
            "ready": not reasons,
            "reasons": reasons,
            "degraded": self.degraded(),
            "components": [one.record() for one in self.components()],
        }

    def failures(self) -> list[str]:
        """Parts of this process that have failed: a restart of the process is due."""
        outside = {probe.component for probe in self._probes if not probe.restart_helps}
        if (requests := self._models.sinks.log) is not None and not requests.restart_helps:
            outside.add("request_log")
        failed = [one for one in self.registry.report() if one.state is Condition.FAILED]
        return [sentence(one) for one in failed if one.component not in outside]

    def serving(self) -> dict[str, bool]:
        """For gRPC health: each model, whether it answers; and `MODEL/learning`, whether all of its parts are well."""
        names: dict[str, bool] = {}
        parts = self.by_model()
        for model in self._models.all():
            names[model.name] = not self._models.draining and not model.unready()
            names[f"{model.name}/learning"] = all(one.well for one in parts[model.name])
        for alias in self._models.aliases:
            for end in ("", "/learning"):
                names[alias.name + end] = names[alias.model.answering.name + end]
        return names

    def log_up(self) -> bool | None:
        """Whether this process reaches the log; None: nobody asks."""
        for one in self.registry.report():
            if one.component == LOG:
                return one.state in (Condition.RUNNING, Condition.STARTING)
        return None


def is_part_of(one: ComponentHealth, model: str) -> bool:
    """Whether it is a part of a model, or of one of its shards."""
    shard = shard_of(one.model)
    return one.model == model or (shard is not None and shard[0] == model)


def sentence(one: ComponentHealth) -> str:
    """What is wrong with a part, for people."""
    what = one.component.replace("_", " ")
    return f"model {one.model!r}: {what} {one.state.value}: {one.reason}" if one.model else f"{what}: {one.reason}"
