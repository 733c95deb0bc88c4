"""How versions get from a learner to the servers, as each side sees it; `file_channel` is the implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import AlternativeInputs, Explainer, InputValidator, capability, is_untaught
from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Inputs, TensorSpec


class Servable(Protocol):
    """What is published as its state: a predictor, or the learner of a shard."""

    def state(self) -> State:
        """What the file of a version holds."""


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """Describes a version."""

    version: int
    learned_events: int
    event_time: float
    """Unix seconds of the newest event in it; 0: none."""
    published_at: float
    """Unix seconds."""
    as_of: float
    """Unix seconds at which the learner last knew that no newer record was waiting in the log."""
    pid: int
    """Of the learner."""

    def staleness_seconds(self, now: float) -> float:
        """Time since the version was known to be up to date with the log; until it was, since it was published."""
        return max(0.0, now - (self.as_of or self.published_at))


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A predictor and its description; immutable.

    The predictor's capabilities are looked up here, once: `isinstance` with a protocol takes
    microseconds, which is too long for every request.
    """

    predictor: Predictor
    info: VersionInfo
    shards: Mapping[int, int] = field(default_factory=dict, compare=False)
    """The versions of the shards that it was merged of, by number; empty for a model without shards."""
    check: Callable[[Inputs], None] | None = field(init=False, repr=False, compare=False)
    """As in `InputValidator`; None: it accepts everything that fits its shapes and dtypes."""
    explain: Callable[[Inputs, int], list[Any]] | None = field(init=False, repr=False, compare=False)
    """As in `Explainer`; None: not supported."""
    alternative_inputs: Mapping[str, TensorSpec] | None = field(init=False, repr=False, compare=False)
    """As in `AlternativeInputs`; None: there are none."""
    untaught: bool = field(init=False, repr=False, compare=False)
    """Whether it predicts numbers and has learned none, as of `is_untaught`."""

    def __post_init__(self) -> None:
        validator = capability(self.predictor, InputValidator)
        explainer = capability(self.predictor, Explainer)
        others = capability(self.predictor, AlternativeInputs)
        object.__setattr__(self, "check", None if validator is None else validator.check)
        object.__setattr__(self, "explain", None if explainer is None else explainer.explain)
        object.__setattr__(self, "alternative_inputs", None if others is None else others.alternative_inputs)
        object.__setattr__(self, "untaught", is_untaught(self.predictor))


class VersionPublisher(Protocol):
    """The learner's side, one per model. One thread uses it."""

    def shown(self) -> int | None:
        """The published version, possibly by an earlier publisher; None: there is none."""

    def publish(self, predictor: Predictor, *, version: int, learned_events: int, event_time: float) -> None:
        """Publish this version. `event_time`: Unix seconds of the newest event in it, 0 if none.

        Raises:
            OSError: It cannot be published; the previous version stays published.
        """

    def confirm(self, as_of: float) -> None:
        """The published version contains everything that was in the log at this time (Unix seconds)."""

    def close(self) -> None:
        """Close; the published version stays."""


class VersionSubscriber(Protocol):
    """A server's side, one per model. Any number of threads may read."""

    @property
    def current(self) -> ServedVersion | None:
        """The version in use, None before the first. Read once per request: one attribute read, no lock."""

    def start(self) -> None:
        """Start to poll for versions, in a separate thread."""

    def wait_for(self, version: int, timeout_seconds: float) -> ServedVersion | None:
        """The current version once it is this one or a later one, or after the timeout. Blocks."""

    def close(self) -> None:
        """Stop polling."""
