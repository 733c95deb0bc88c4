"""`[[model]]`: one model of the configuration."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from thalweg.memory.exchange.pending import USUAL
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.encoders.encoder import IDENTITY, encoder_sha256
from thalweg.models.parts.settings import Count, Settings, Whole, rule
from thalweg.ops.config.secrets import shown
from thalweg.proto.schema import TensorSpec
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.learn.settings import LearnSettings

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_RESERVED = {"live"}
_MADE_OF = "expected letters, digits, '.', '_' or '-'"


def _name(given: str) -> str:
    if not re.fullmatch(_NAME, given) or given in _RESERVED or given.isdigit():
        raise ValueError(f"{_MADE_OF}, and not {sorted(_RESERVED)}, got {given!r}")
    return given


def _topic(given: str) -> str:
    if not re.fullmatch(_NAME, given):
        raise ValueError(f"{_MADE_OF}, got {given!r}")
    return given


def _topic_or_none(given: str) -> str:
    return _topic(given) if given else ""


_PATTERN = Field(json_schema_extra={"pattern": f"^{_NAME}$"})
Name = Annotated[str, AfterValidator(_name), _PATTERN]
Topic = Annotated[str, AfterValidator(_topic), _PATTERN]
AtLeastOne = Annotated[float, Field(ge=1)]
PartOfAll = Annotated[float, Field(gt=0, le=1)]


class InputConfig(Settings):
    """`inputs.NAME`: one input tensor of a model, without the batch dimension."""

    shape: list[Count]
    """Sizes of its dimensions, all at least 1."""
    dtype: Literal["float32", "float64", "int64", "int32", "uint8", "bool", "bytes"] = "float32"
    """`float32`, `float64`, `int64`, `int32`, `uint8`, `bool` or `bytes`."""


class ModelConfig(LearnSettings):
    """`[[model]]`: one model, the topic it follows, and how."""

    not_yet: ClassVar = {"device": "other devices are not offered in this version"}

    name: Name
    """Letters, digits, `.`, `_`, `-`; what clients ask for."""
    learner: str
    """`ridge`, `bottleneck`, `error_memory`, `prompt_tpp`, `cotta`, or of the entry points `thalweg.learners`."""
    topic: Topic
    """Where its events are."""
    inputs: Annotated[dict[str, InputConfig], Field(min_length=1)]
    """Its input tensors by name."""
    labels_topic: Annotated[str, AfterValidator(_topic_or_none)] = ""
    """Where labels come that belong to earlier events or requests, by id; empty: they come with their events."""
    label_seconds: AtLeastOne = USUAL.seconds
    """How long an event or request waits for its label, and a label for its event …"""
    label_events: Count = USUAL.events
    """… and how many wait at most; the oldest go first."""
    snapshots_kept: Count = 5
    """Older versions are deleted."""
    window_events: Count = 1000
    """Size of the recent window of the prequential metrics."""
    seed: Whole = 0
    """Of everything random in the learner."""
    params: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """The learner's own hyper-parameters, named as in its documentation."""
    encoder: str = IDENTITY
    """What stands in front of the learner, frozen: `identity`, `random_features`, `random_convolution` (each also with
    `:SIZE`), a torch module, `module:factory`, or `onnx:FILE`."""
    weights: str = ""
    """Safetensors file for the encoder's torch module."""
    device: Literal["auto", "cpu"] = "auto"
    """Where it computes; only the processor in this version."""
    frozen_after_events: Whole = 1000
    """Beside the model stands its frozen twin, as it was after so many events, to compare with; 0: none."""
    continual_events: Whole = 10
    """So many events of every class are held and asked again while it learns, to see what it keeps of them; 0: none."""
    continual_share: PartOfAll = 0.02
    """How many of those are asked, as a share of the events: what this costs beside answering."""
    continual_bytes: Whole = 4 << 20
    """Bound on what is held; classes that no longer fit are not followed."""
    frozen_version: Whole = 0
    """Instead: as it was in this kept version, which must be kept when the service first starts with it; 0: in none."""
    drift: DriftParams = DriftParams()
    """`[model.drift]`: what watches the model, and what is done when it drifts."""
    learn_from_requests: bool = False
    """What is asked becomes an unlabelled event of the topic: for learners that adapt to their traffic."""

    @rule("labels_topic", "topic", "name")
    def _labels_have_a_topic_of_their_own(self) -> str | None:
        sound = not self.labels_topic or self.labels_topic not in (self.topic, self.joined_topic)
        return None if sound else f"expected another topic than the events', got {self.labels_topic!r}"

    @rule("dedup_events", "labels_topic")
    def _joined_twice_is_learned_once(self) -> str | None:
        sound = self.dedup_events or not self.labels_topic
        return None if sound else "expected 1 or more with a labels_topic: a label may be joined twice, got 0"

    @property
    def joined_topic(self) -> str:
        """Where events go that were joined with their label; empty without a `labels_topic`."""
        return f"{self.name}.joined" if self.labels_topic else ""

    def specs(self) -> dict[str, TensorSpec]:
        """The inputs as tensor specifications."""
        return {name: TensorSpec(name, one.dtype, tuple(one.shape)) for name, one in self.inputs.items()}

    def identity(self) -> dict[str, Any]:
        """What makes a state what it is, as JSON would have it: a state is only restored under the same."""
        return {
            "learner": self.learner,
            "inputs": {name: one.model_dump() for name, one in self.inputs.items()},
            "params": self.params,
            "seed": self.seed,
            "encoder": encoder_sha256(self.encoder, self.weights, self.seed) or IDENTITY,
        }

    def context(self) -> LearnerContext:
        """What its learner is made of; raises ParamsError for a device that is not offered."""
        return LearnerContext(inputs=self.specs(), params=self.params, seed=self.seed, device=self.device)

    def identity_sha256(self) -> str:
        """Hash over `identity`."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True, default=str).encode()).hexdigest()

    def shown_identity(self) -> dict[str, Any]:
        """`identity` as JSON reads it back, secrets masked, for manifests."""
        params = shown(self.params, ("model", 0, "params"))
        made: dict[str, Any] = json.loads(json.dumps({**self.identity(), "params": params}, default=str))
        return made
