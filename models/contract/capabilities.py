"""What a predictor may offer beyond predicting. Each is optional; servers look it up once per version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from thalweg.proto.schema import Inputs, TensorSpec


@runtime_checkable
class AlternativeInputs(Protocol):
    """A predictor that also answers requests with other inputs than those of the events it learns from."""

    @property
    def alternative_inputs(self) -> Mapping[str, TensorSpec]:
        """By name; given together, and without `inputs`. The same for as long as the predictor lives."""


@runtime_checkable
class InputValidator(Protocol):
    """A predictor that takes fewer inputs than their shapes and dtypes say."""

    def check(self, inputs: Inputs) -> None:
        """Raise InputError for those it does not take."""


@runtime_checkable
class Explainer(Protocol):
    """A predictor that can say what its answers were made from."""

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        """Per row, what counted, as JSON knows it, at most `most` entries."""
