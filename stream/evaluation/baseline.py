"""The frozen baseline: an earlier state of the model that no longer learns, to measure the gain of learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from thalweg.memory.files import make_folder
from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state
from thalweg.models.contract.capabilities import with_history
from thalweg.models.contract.learner import Learner, Predictor

log = structlog.get_logger(__name__)

BASELINE_FILE = "frozen.safetensors"
"""In the folder of a model."""
_VERSION = "twin_of_version"  # named twin in saved states, which must stay readable


@dataclass(frozen=True, slots=True)
class Pinned:
    """A fixed version to use as the baseline, instead of the model after a number of events."""

    version: int
    state: Callable[[], State]
    """Returns the learner's state in that version; called once, at the start, unless the baseline is that version
    already.
    """


class Baseline:
    """Predicts as the model did at an earlier version; never learns. Not thread-safe.

    Args:
        learner: The learner that continues; only read, when the baseline is made.
        make: Creates a learner of the same kind that has learned nothing.
        after: The baseline is the learner after this many events; 0: no baseline, unless one is pinned.
        path: Where the baseline is saved for a restart; None: it is not saved.
        pinned: A fixed version to use instead.
    """

    def __init__(
        self, learner: Learner, make: Callable[[], Learner], after: int, path: Path | None, pinned: Pinned | None = None
    ) -> None:
        self._learner = learner
        self._make = make
        self._after = after
        self._path = path
        self._pinned = pinned
        self._baseline: Predictor | None = None
        self._state: State | None = None  # without a path: for `save`
        if pinned is not None and not self._is_kept(pinned.version):
            self._keep(State(*_copied(pinned.state())), pinned.version)
        if pinned is not None:
            self._baseline = self._kept()

    @property
    def made(self) -> bool:
        """Whether the baseline exists and differs from the learner."""
        return self._baseline is not None

    def due(self, events: int) -> bool:
        """Whether the baseline is to be made now, after `events` events."""
        return self._baseline is None and 0 < self._after <= events

    def make(self) -> None:
        """Make the baseline of the learner as it is."""
        state = State(*_copied(self._learner.state()))
        self._keep(state, None)
        self._baseline = self._predictor_of(state)

    def answerer(self, predictor: Predictor) -> Predictor | None:
        """The baseline's predictor; the learner's until the baseline is made; None if there is none."""
        if self._baseline is not None:
            self._baseline = with_history(self._baseline, predictor)
        elif not self._after:
            return None
        return self._baseline or predictor

    def save(self, path: Path) -> None:
        """Save the baseline where a service looks for it; one without a path of its own. Raises OSError."""
        if self._state is None:
            path.unlink(missing_ok=True)
        else:
            make_folder(path.parent)
            write_state(State(self._state.tensors, {**self._state.meta, _VERSION: None}), path)

    def meta(self) -> dict[str, Any]:
        """Metadata for the saved state; the baseline itself has its own file."""
        return {"has_twin": self.made, _VERSION: None if self._pinned is None else self._pinned.version}

    def restore(self, meta: Mapping[str, Any]) -> bool:
        """Restore the baseline of `meta()`; returns whether its figures are comparable with those saved."""
        if self._pinned is not None:
            return meta.get(_VERSION) == self._pinned.version
        self._baseline = self._kept() if meta.get("has_twin") else None
        return True

    def _is_kept(self, version: int) -> bool:
        try:
            return self._path is not None and read_state(self._path).meta.get(_VERSION) == version
        except (OSError, DamagedFile):
            return False

    def _keep(self, state: State, version: int | None) -> None:
        if self._path is None:
            self._baseline, self._state = self._predictor_of(state), state
            return
        marked = State(state.tensors, {**state.meta, _VERSION: version})
        try:
            make_folder(self._path.parent)
            write_state(marked, self._path)
        except OSError as error:
            log.warning("the frozen baseline cannot be kept: a restart will make another", problem=str(error))
            self._baseline = self._predictor_of(state)

    def _kept(self) -> Predictor | None:
        try:
            if self._path is not None:
                return self._predictor_of(read_state(self._path))
        except (OSError, DamagedFile, ValueError, LookupError) as error:
            log.warning("the frozen baseline is gone: its figures continue with the model as it is", problem=str(error))
        return self._baseline

    def _predictor_of(self, state: State) -> Predictor:
        baseline = self._make()
        baseline.restore(state)
        return baseline.predictor()


def _copied(state: State) -> tuple[dict[str, Any], dict[str, Any]]:
    return {name: np.array(tensor) for name, tensor in state.tensors.items()}, dict(state.meta)
