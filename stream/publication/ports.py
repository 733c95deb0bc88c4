"""What carries versions from a learner to the servers, as each side sees it; `file_channel` has the real parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from thalweg.models.contract.capabilities import AlternativeInputs, Explainer, InputValidator, capability
from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Inputs, TensorSpec


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What an answer is made from."""

    version: int
    learned_events: int
    event_time: float
    """Unix seconds of the newest event in it; 0: none."""
    published_at: float
    """Unix seconds."""
    as_of: float
    """Unix seconds at which the learner last knew that nothing newer was waiting in the log."""
    pid: int
    """Of the learner."""

    def staleness_seconds(self, now: float) -> float:
        """How old the newest knowledge that could be in an answer is."""
        return max(0.0, now - self.as_of) if self.as_of else 0.0


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A predictor and what it is; never changes.

    What the predictor offers beyond predicting is looked up here, once: `isinstance` with a protocol takes
    microseconds, which is too long for every request.
    """

    predictor: Predictor
    info: VersionInfo
    check: Callable[[Inputs], None] | None = field(init=False, repr=False, compare=False)
    """As in `InputValidator`; None: it takes all that fits its shapes and dtypes."""
    explain: Callable[[Inputs, int], list[Any]] | None = field(init=False, repr=False, compare=False)
    """As in `Explainer`; None: it cannot."""
    alternative_inputs: Mapping[str, TensorSpec] | None = field(init=False, repr=False, compare=False)
    """As in `AlternativeInputs`; None: there are none."""

    def __post_init__(self) -> None:
        validator = capability(self.predictor, InputValidator)
        explainer = capability(self.predictor, Explainer)
        others = capability(self.predictor, AlternativeInputs)
        object.__setattr__(self, "check", None if validator is None else validator.check)
        object.__setattr__(self, "explain", None if explainer is None else explainer.explain)
        object.__setattr__(self, "alternative_inputs", None if others is None else others.alternative_inputs)


class VersionPublisher(Protocol):
    """The learner's side, one per model. One thread uses it."""

    def shown(self) -> int | None:
        """The version that is shown, perhaps by an earlier publisher; None: none is."""

    def publish(self, predictor: Predictor, *, version: int, learned_events: int, event_time: float) -> None:
        """Show this version from now on. `event_time`: Unix seconds of the newest event in it, 0 if none.

        Raises:
            OSError: It cannot be shown; what was shown before still is.
        """

    def confirm(self, as_of: float) -> None:
        """The version shown has everything that was in the log at this time (Unix seconds)."""

    def close(self) -> None:
        """Close; what is shown stays shown."""


class VersionSubscriber(Protocol):
    """A server's side, one per model. Any number of threads may read."""

    @property
    def current(self) -> ServedVersion | None:
        """What answers now, None before the first. Read once per answer: one attribute read, no lock."""

    def start(self) -> None:
        """Look for versions from now on, in a thread of its own."""

    def wait_for(self, version: int, timeout_seconds: float) -> ServedVersion | None:
        """What is current once it is this version or a later one, or when the time is over. Blocks."""

    def close(self) -> None:
        """Stop looking."""
