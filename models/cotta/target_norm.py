"""Batch norm on a drifted stream: batch statistics while adapting, target statistics while serving.

While a model adapts, a layer normalises by the statistics of its batch (Schneider et al., "Improving
robustness against common corruptions by covariate shift adaptation", NeurIPS 2020), by default blended with those of
the row itself: in a batch of many domains, its own say more. While it serves, it uses the target's running statistics,
blended likewise: a prediction never depends on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

from thalweg.models.parts.torch_setup import Tensor, functional, torch

Moments = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and mean square (C,) by layer."""
_KINDS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)


class TargetNorm(torch.nn.Module):
    """Replaces a batch norm; its parameters keep their names.

    Args:
        layer: The replaced layer; its scale, shift and eps are used, its running statistics are the source's.
    """

    mean: Tensor
    square: Tensor

    def __init__(self, layer: torch.nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps
        width = layer.num_features
        mean = torch.zeros(width) if layer.running_mean is None else layer.running_mean.detach().clone()
        variance = torch.ones(width) if layer.running_var is None else layer.running_var.detach().clone()
        self.register_buffer("mean", mean)
        self.register_buffer("square", variance + mean**2)
        self.own: float | None = None
        """The share of the row's own statistics; None: those of the batch are used."""
        self.step_own = 0.0
        """The share of the row's own statistics beside those of the batch, while `own` is None."""
        self.keeps = False
        """Whether mean and mean square of each row (N, C) are stored in `rows`."""
        self.rows: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        inside = tuple(range(2, x.ndim))
        if self.keeps:
            self.rows = (x.mean(inside), (x * x).mean(inside)) if inside else (x, x * x)
        if self.own is None:
            if inside and self.step_own > 0:
                return self._blended(x, inside)
            return functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean, square = self.mean.view(shape), self.square.view(shape)
        if inside and self.own > 0:
            mean = mean.lerp(x.mean(inside, keepdim=True), self.own)
            square = square.lerp((x * x).mean(inside, keepdim=True), self.own)
        return self._normalised(x, mean, square)

    def _blended(self, x: Tensor, inside: tuple[int, ...]) -> Tensor:
        means, squares = x.mean(inside, keepdim=True), (x * x).mean(inside, keepdim=True)
        mean, square = (one.mean(0, keepdim=True).lerp(one, self.step_own) for one in (means, squares))
        return self._normalised(x, mean, square)

    def _normalised(self, x: Tensor, mean: Tensor, square: Tensor) -> Tensor:
        """By moments (1 or N, C, 1 …)."""
        scale = torch.rsqrt((square - mean**2).clamp(min=0.0) + self.eps)
        shape = (1, -1, *[1] * (x.ndim - 2))
        if self.weight is not None:
            scale = scale * self.weight.view(shape)
        shifted = (x - mean) * scale
        return shifted if self.bias is None else shifted + self.bias.view(shape)


def replace_batch_norms(model: torch.nn.Module) -> torch.nn.Module:
    """The model with every batch norm replaced, in place; or the replacement if the model is one itself."""
    if isinstance(model, _KINDS):
        return TargetNorm(model)
    for name, child in model.named_children():
        changed = replace_batch_norms(child)
        if changed is not child:
            setattr(model, name, changed)
    return model


def target_norms(model: torch.nn.Module) -> Iterator[tuple[str, TargetNorm]]:
    """Every replaced layer, by name."""
    for name, module in model.named_modules():
        if isinstance(module, TargetNorm):
            yield name, module


def normalised_by(
    moments: Moments | None, own: float | None, model: torch.nn.Module, run: Callable[[], Tensor]
) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """What `run` gives while the model's layers normalise by these moments, with this share of the row's own (None: by
    the batch's), and the moments (N, C) of each row at every layer.
    """
    layers = dict(target_norms(model))
    before = {name: (layer.mean, layer.square) for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.own, layer.keeps = own, True
        if moments is not None:
            layer.mean, layer.square = moments[name]
    found = run()
    rows = {name: layer.rows for name, layer in layers.items() if layer.rows is not None}
    for name, layer in layers.items():
        layer.own, layer.keeps, layer.rows = None, False, None
        layer.mean, layer.square = before[name]
    return found, rows


def with_moments(model: torch.nn.Module, weights: Mapping[str, Tensor], moments: Moments) -> torch.nn.Module:
    """A copy of the model with other weights, by name, and these moments in its layers."""
    tensors, made = dict(weights), deepcopy(model)
    for name, (mean, square) in moments.items():
        tensors |= {f"{name}.mean".lstrip("."): mean, f"{name}.square".lstrip("."): square}
    made.load_state_dict(tensors, strict=False)
    return made
