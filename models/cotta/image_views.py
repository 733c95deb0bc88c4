"""The augmentations of CoTTA's authors, for whole batches of images: one draw, shared by the batch.

Source: Wang et al., CVPR 2022, and the official code's pipeline: colour jitter in random order, a small affine
transformation of the edge-padded image, a slight blur, mirroring, noise. All operations take images (B, C, H, W) in
[0, 1], C 1 or 3; grey ones have no saturation and no hue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from thalweg.memory.devices.device import beside
from thalweg.models.parts.torch_setup import Tensor, functional, torch

COLOURS: Mapping[str, tuple[float, float]] = {
    "brightness": (0.6, 1.4),
    "contrast": (0.7, 1.3),
    "saturation": (0.5, 1.5),
    "hue": (-0.06, 0.06),
    "gamma": (0.7, 1.3),
}
"""Colour operations, and the range of their factor."""
_ANGLE, _SHIFT, _SCALE, _SIGMA, _NOISE = 15.0, 1 / 16, (0.9, 1.1), (0.001, 0.5), 0.005
_GREY = (0.2989, 0.587, 0.114)


class Draw(NamedTuple):
    """The parameters of one view."""

    colours: Sequence[tuple[str, float]]
    """Operations in order, each with its factor."""
    angle: float
    """Degrees."""
    shift: tuple[float, float]
    """Pixels to the right and down."""
    scale: float
    sigma: float
    """Of the blur, pixels."""
    mirrored: bool

    @classmethod
    def by(cls, generator: torch.Generator, side: int) -> Draw:
        """A random one, for images of this size."""

        def between(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        names = [list(COLOURS)[place] for place in torch.randperm(len(COLOURS), generator=generator).tolist()]
        colours = [(name, between(*COLOURS[name])) for name in names]
        most = _SHIFT * 2 * side
        shift = round(between(-most, most)), round(between(-most, most))
        return cls(
            colours, between(-_ANGLE, _ANGLE), shift, between(*_SCALE), between(*_SIGMA), between(0.0, 1.0) < 0.5
        )


def images(x: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """This many views of images."""
    for _ in range(count):
        draw = Draw.by(generator, x.shape[-1])
        yield view(x, draw, _NOISE * beside(torch.randn(x.shape, generator=generator), x))


def view(x: Tensor, draw: Draw, noise: Tensor) -> Tensor:
    """The images transformed by a draw."""
    shown = coloured(x.clamp(0.0, 1.0), draw.colours)
    rows, columns = x.shape[-2:]
    padded = functional.pad(shown, (columns // 2, columns // 2, rows // 2, rows // 2), mode="replicate")
    soft = blurred(moved(padded, draw.angle, draw.shift, draw.scale), draw.sigma)
    cut = soft[..., rows // 2 : rows // 2 + rows, columns // 2 : columns // 2 + columns]
    turned = cut.flip(3) if draw.mirrored else cut
    return (turned + noise).clamp(0.0, 1.0)


def coloured(x: Tensor, colours: Sequence[tuple[str, float]]) -> Tensor:
    """Colour operations, one after the other, each clipped to [0, 1]."""
    for name, factor in colours:
        if name == "brightness":
            x = x * factor
        elif name == "gamma":
            x = x.clamp(1e-8, 1.0) ** factor
        elif name == "contrast":
            x = factor * x + (1.0 - factor) * _grey(x).mean((1, 2, 3), keepdim=True)
        elif x.shape[1] == 3:
            x = factor * x + (1.0 - factor) * _grey(x) if name == "saturation" else _hue_shifted(x, factor)
        x = x.clamp(0.0, 1.0)
    return x


def moved(x: Tensor, angle: float, shift: tuple[float, float], scale: float) -> Tensor:
    """Rotated about the centre, then shifted; padded with zeros."""
    rows, columns = x.shape[-2:]
    down = torch.arange(rows, dtype=x.dtype, device=x.device)[:, None] - (rows - 1) / 2 - shift[1]
    right = torch.arange(columns, dtype=x.dtype, device=x.device)[None, :] - (columns - 1) / 2 - shift[0]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    across, along = (cos * right + sin * down) / scale, (cos * down - sin * right) / scale
    grid = torch.stack([2 * across / columns, 2 * along / rows], dim=2).expand(len(x), -1, -1, -1)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """By a Gaussian of five taps each way; edges are reflected."""
    taps = torch.exp(-0.5 * (torch.arange(-2, 3, dtype=x.dtype, device=x.device) / sigma) ** 2)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    channels = x.shape[1]
    padded = functional.pad(x, (2, 2, 2, 2), mode="reflect")
    return functional.conv2d(padded, kernel.expand(channels, 1, 5, 5), groups=channels)


def _grey(x: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * beside(torch.tensor(_GREY, dtype=x.dtype), x)[:, None, None]).sum(1, keepdim=True)


def _hue_shifted(x: Tensor, turns: float) -> Tensor:
    """Hue rotation, by HSV."""
    red, green, blue = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, 1.0)
    sextant = torch.where(
        value == red,
        ((green - blue) / safe) % 6.0,
        torch.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    turned = (torch.where(chroma > 0, sextant, 0.0) + 6.0 * turns) % 6.0
    channels = []
    for offset in (5.0, 3.0, 1.0):  # red, green, blue
        place = (offset + turned) % 6.0
        channels.append(value - chroma * torch.minimum(place, 4.0 - place).clamp(0.0, 1.0))
    return torch.stack(channels, dim=1)
