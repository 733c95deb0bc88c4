"""Gradient descent with momentum (Sutskever et al., ICML 2013) over named tensors, with the interface of `adam.py`."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.memory.devices.device import Device
from thalweg.models.parts.torch_setup import Tensor
from thalweg.proto.schema import Array


class Sgd:
    """Weights by name and their velocities. Not thread-safe.

    Args:
        weights: Initial values; not copied.
        learning_rate: The step size.
        momentum: The factor on the velocity in each step.
        nesterov: Use Nesterov's momentum.
        device: Where they are; None: with the processor.
    """

    def __init__(
        self,
        weights: Mapping[str, Array],
        learning_rate: float,
        momentum: float = 0.9,
        nesterov: bool = True,
        device: Device | None = None,
    ) -> None:
        self._device = device or Device()
        self._learning_rate, self._momentum, self._nesterov = learning_rate, momentum, nesterov
        self.pace = 1.0
        """Factor on the step size of the next steps; not part of `tensors`: its owner saves it."""
        self.weights = {name: self._device.keep(array) for name, array in weights.items()}
        self._device.reserve(sum(each.nbytes for each in self.weights.values()))
        self._velocities: dict[str, Tensor] = {}

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update the weights that have a gradient."""
        for name, gradient in gradients.items():
            before = self._velocities.get(name)
            velocity = gradient.clone() if before is None else before * self._momentum + gradient
            self._velocities[name] = velocity
            move = gradient + self._momentum * velocity if self._nesterov else velocity
            self.weights[name] = self.weights[name] - self.pace * self._learning_rate * move

    def tensors(self) -> dict[str, Array]:
        """The full state, for a snapshot."""
        found = {f"weight.{name}": each for name, each in self.weights.items()}
        found |= {f"velocity.{name}": each for name, each in self._velocities.items()}
        return self._device.fetch_all(found)

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from the result of `tensors()`."""
        for name in self.weights:
            self.weights[name] = self._device.own(tensors[f"weight.{name}"])
        self._velocities = {
            name: self._device.own(tensors[f"velocity.{name}"])
            for name in self.weights
            if f"velocity.{name}" in tensors
        }
