"""Adam (Kingma and Ba, 2015) over named tensors, whose full state can be saved and restored."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from thalweg.memory.devices.device import Device
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.proto.schema import Array

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Weights by name and their moments. Not thread-safe.

    Args:
        weights: Initial values; not copied.
        learning_rate: The step size.
        device: Where they are; None: with the processor.
    """

    def __init__(self, weights: Mapping[str, Array], learning_rate: float, device: Device | None = None) -> None:
        self._learning_rate, self._device = learning_rate, device or Device()
        self.pace = 1.0
        """Factor on the step size of the next steps; not part of `tensors`: its owner saves it."""
        self.weights = {name: self._device.keep(array) for name, array in weights.items()}
        self._device.reserve(2 * sum(each.nbytes for each in self.weights.values()))
        self._moments = {name: (torch.zeros_like(each), torch.zeros_like(each)) for name, each in self.weights.items()}
        self._steps = dict.fromkeys(self.weights, 0)

    def leaves(self, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """All weights, as leaves for autograd; those named, or all, require gradients."""
        return {
            name: each.detach().requires_grad_(names is None or name in names) for name, each in self.weights.items()
        }

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update the weights that have a gradient; the others and their moments are unchanged."""
        for name, gradient in gradients.items():
            mean, square = self._moments[name]
            self._steps[name] = steps = self._steps[name] + 1
            mean.lerp_(gradient, 1.0 - _BETA1)
            square.mul_(_BETA2).addcmul_(gradient, gradient, value=1.0 - _BETA2)
            size = (square / (1.0 - _BETA2**steps)).sqrt_().add_(_EPSILON)
            rate = self.pace * self._learning_rate / (1.0 - _BETA1**steps)
            # a new tensor, so that references to the previous one stay valid
            self.weights[name] = self.weights[name] - rate * mean / size

    def frozen(self) -> dict[str, Array]:
        """Copies of the weights, as arrays."""
        return {name: np.array(array) for name, array in self._device.fetch_all(self.weights).items()}

    def tensors(self) -> dict[str, Array]:
        """The full state, for a snapshot."""
        kept: dict[str, Tensor] = {}
        for name, each in self.weights.items():
            kept[f"weight.{name}"] = each
            kept[f"mean.{name}"], kept[f"square.{name}"] = self._moments[name]
        found = self._device.fetch_all(kept)
        found["steps"] = np.array(list(self._steps.values()), dtype=np.int64)
        return found

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from the result of `tensors()`."""
        for name, steps in zip(self.weights, tensors["steps"].tolist()):
            weight, mean, square = (
                self._device.own(tensors[f"{part}.{name}"]) for part in ("weight", "mean", "square")
            )
            self.weights[name], self._moments[name], self._steps[name] = weight, (mean, square), steps
