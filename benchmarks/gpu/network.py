"""A residual network of the size of ResNet-50 (He et al., 2016), which needs no package but torch."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(inside, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = stride == 1 and inside == out
        shortcut = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.shortcut = nn.Identity() if same else shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Mean(nn.Module):
    """Over the picture, by a mean, whose gradient a GPU repeats."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def residual() -> nn.Module:
    """With as many blocks as `BLOCKS` in the environment says."""
    blocks = [int(one) for one in os.environ.get("THALWEG_GPU_BLOCKS", "3,4,6,3").split(",")]
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    inside = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for block in range(count):
            layers.append(Bottleneck(inside, width, 2 if stage and not block else 1))
            inside = 4 * width
    return nn.Sequential(*layers, Mean(), nn.Linear(inside, 1000))
