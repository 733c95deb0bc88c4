"""Gradient descent with momentum (Sutskever et al., ICML 2013) over named tensors, as `adam.py` holds them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.proto.schema import Array


class Sgd:
    """Weights by name and their velocities. One thread uses it.

    Args:
        weights: First values; taken over.
        learning_rate: Of every step.
        momentum: Share of the velocity that stays.
        nesterov: Look ahead along the velocity.
    """

    def __init__(
        self, weights: Mapping[str, Array], learning_rate: float, momentum: float = 0.9, nesterov: bool = True
    ) -> None:
        self._learning_rate, self._momentum, self._nesterov = learning_rate, momentum, nesterov
        self.pace = 1.0
        """By how much faster the next steps go; no part of `tensors`: whoever sets it keeps it."""
        self.weights = {name: torch.from_numpy(array).clone() for name, array in weights.items()}
        self._velocities: dict[str, Tensor] = {}

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Move the weights that have a gradient."""
        for name, gradient in gradients.items():
            before = self._velocities.get(name)
            velocity = gradient.clone() if before is None else before * self._momentum + gradient
            self._velocities[name] = velocity
            move = gradient + self._momentum * velocity if self._nesterov else velocity
            self.weights[name] = self.weights[name] - self.pace * self._learning_rate * move

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        found: dict[str, Array] = {f"weight.{name}": each.numpy() for name, each in self.weights.items()}
        return found | {f"velocity.{name}": each.numpy() for name, each in self._velocities.items()}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` are among these."""
        # cloned: torch aligns its own memory alike, and what is aligned otherwise may be summed in another order
        for name in self.weights:
            self.weights[name] = torch.from_numpy(np.array(tensors[f"weight.{name}"])).clone()
        self._velocities = {
            name: torch.from_numpy(np.array(tensors[f"velocity.{name}"])).clone()
            for name in self.weights
            if f"velocity.{name}" in tensors
        }
