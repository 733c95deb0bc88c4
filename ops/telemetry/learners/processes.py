"""The learner processes of a service, as each of them last told of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from thalweg.ops.telemetry.process_health import LearnerProcess, learner_role
from thalweg.stream.health.registry import ComponentHealth
from thalweg.stream.shards.names import shard_of


class LearnerProcesses:
    """The server's side of all learner processes. Thread-safe.

    Args:
        live: The folder that they write to.
        homes: The numbers, from 1, of the processes that have each model. A model that is not among them belongs to the
            first.
        make: Makes the view of one process: of a live folder, the number of the process, and the models that it has
            where there are several processes.
    """

    def __init__(
        self,
        live: Path,
        homes: Mapping[str, tuple[int, ...]] | None = None,
        make: Callable[[Path, int, Sequence[str]], LearnerProcess] = lambda live, number, models: LearnerProcess(
            live, number=number, models=models
        ),
    ) -> None:
        self._homes = dict(homes or {})
        count = max((number for places in self._homes.values() for number in places), default=1)
        shares = {
            number: [name for name, places in self._homes.items() if number in places] for number in range(1, count + 1)
        }
        self._processes = {number: make(live, number, share if count > 1 else ()) for number, share in shares.items()}

    def by_role(self) -> dict[str, LearnerProcess]:
        """Each process by what it is called: `learner`, `learner-2` and so on."""
        return {process.role: process for process in self._processes.values()}

    def problem(self, model: str) -> str:
        """Why no process that has a model works; empty while one does, and while it has time to start."""
        problems = [process.problem for process in self.of(model)]
        return problems[0] if all(problems) else ""

    def of(self, model: str) -> list[LearnerProcess]:
        """The processes that have a model."""
        return [self._processes[number] for number in self._homes.get(model, (1,))]

    def has(self, role: str, model: str) -> bool:
        """Whether the process that is called so has a model, or may have a shard. What it tells of others is left from
        a time when it had them.
        """
        shard = shard_of(model)
        places = self._homes.get(model if shard is None else shard[0])
        return places is None or any(learner_role(number) == role for number in places)

    def components(self) -> tuple[ComponentHealth, ...]:
        """The processes and their parts; those of a process that does not work are failed, but for those that another
        one has by now.
        """
        told = [
            (not process.problem, one)
            for process in self._processes.values()
            for one in process.components()
            if self.has(process.role, one.model)
        ]
        working = {(one.component, one.model) for works, one in told if works and one.model}
        return tuple(one for works, one in told if works or (one.component, one.model) not in working)
