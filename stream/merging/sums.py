"""The states of shards merged by the learner itself, only the changed ones where the others stand still."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.models.contract.learner import Learner
from thalweg.stream.exceptions import first_line


class MergedStates:
    """Merges the newest states of shards. What did not change since the last time is kept merged.

    Args:
        make: Makes a new learner of the model.
    """

    def __init__(self, make: Callable[[], Learner]) -> None:
        self._make = make
        self._empty: State | None = None
        self._last: dict[int, State] = {}
        self._standing: dict[int, State] = {}  # the states in `_kept`
        self._kept: State | None = None
        self._classes: tuple[str, ...] = ()

    def merged(self, states: Mapping[int, State]) -> tuple[Learner, dict[int, str]]:
        """A learner that has learned what all of them have.

        Args:
            states: By shard; one that is the same object as before is taken for unchanged.

        Returns:
            The learner, and why a shard is not in it, by its number.
        """
        unchanged = {number: state for number, state in states.items() if self._last.get(number) is state}
        if any(unchanged.get(number) is not state for number, state in self._standing.items()):
            self._standing, self._kept = {}, None
        if len(unchanged) > max(1, len(self._standing)):
            learner, refused = self._added({n: state for n, state in unchanged.items() if n not in self._standing})
            self._standing = {number: state for number, state in unchanged.items() if number not in refused}
            self._kept = _copied(learner.state())
        changed = {number: state for number, state in states.items() if number not in self._standing}
        learner, refused = self._added(changed)
        if not self._in_order(learner) and self._standing:  # the order of classes is that of the states added
            self._standing, self._kept = {}, None
            learner, refused = self._added(states)
        self._classes = learner.predictor().classes
        self._last = {number: state for number, state in states.items() if number not in refused}
        return learner, refused

    def _in_order(self, learner: Learner) -> bool:
        """Whether the classes stand where they stood the last time: callers know scores by their columns."""
        return learner.predictor().classes[: len(self._classes)] == self._classes

    def _added(self, states: Mapping[int, State]) -> tuple[Learner, dict[int, str]]:
        """What is kept, and these."""
        refused: dict[int, str] = {}
        while True:
            learner, wrong = self._tried({number: one for number, one in states.items() if number not in refused})
            if wrong is None:
                return learner, refused
            refused[wrong[0]] = wrong[1]  # begun anew without it: it may have been added in part

    def _tried(self, states: Mapping[int, State]) -> tuple[Learner, tuple[int, str] | None]:
        """What is kept, and these up to the first that cannot be merged, with the reason."""
        learner = self._make()
        if self._kept is None and self._empty is None:
            self._empty = _copied(learner.state())  # some learners take seconds to begin, once
        begun = self._kept or self._empty
        assert begun is not None
        learner.restore(begun)
        mergeable = capability(learner, Mergeable)
        if mergeable is None:
            raise TypeError(f"a {type(learner).__name__} cannot be merged: expected a learner with this capability")
        for number, state in sorted(states.items()):
            try:
                mergeable.merge(state)
            except Exception as error:  # whatever is wrong with one shard, the others go on
                return learner, (number, str(error) if isinstance(error, ValueError) else first_line(error))
        return learner, None


def _copied(state: State) -> State:
    return State({name: tensor.copy() for name, tensor in state.tensors.items()}, state.meta)
