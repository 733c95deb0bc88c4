"""Torch models that tests name as `module:factory`."""

from __future__ import annotations

import torch
from torch import nn

SIDE, CLASSES = 8, 4


def convolutional() -> nn.Module:
    """With batch norms, on (N, 1, 8, 8)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8 * 16, CLASSES),
    )


def layered() -> nn.Module:
    """With layer norm, on (N, 12)."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(12, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, CLASSES))


def plain() -> nn.Module:
    """Without any norm, on (N, 12)."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def vectors() -> nn.Module:
    """With batch norm over vectors, on (N, 12)."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES))


def raising() -> nn.Module:
    raise RuntimeError("no such checkpoint")


def no_module() -> object:
    return 3


def digits() -> nn.Module:
    """With batch norms, on (N, 1, 8, 8), ten classes."""
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def embedding() -> nn.Module:
    """An encoder with dropout and batch norm, on (N, 1, 8, 8)."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()
    )


def scalar() -> nn.Module:
    """No encoder: it gives single numbers."""
    return nn.Flatten(0)


def pooled() -> nn.Module:
    """With batch norms, on pictures of any size."""
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
    )


def flattened() -> nn.Module:
    """An encoder that changes nothing but the shape."""
    return nn.Flatten()


def flat_digits() -> nn.Module:
    """Linear layers around a batch norm, and one before them, on (N, 1, 8, 8), ten classes."""
    torch.manual_seed(7)
    layers = (nn.BatchNorm1d(64), nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
    return nn.Sequential(nn.Flatten(), *layers)


def digit_vectors() -> nn.Module:
    """With batch norm, on (N, 64), ten classes."""
    torch.manual_seed(8)
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


def layered_digits() -> nn.Module:
    """With layer norm, on (N, 64), ten classes."""
    torch.manual_seed(9)
    return nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))


def with_probabilities() -> nn.Module:
    """`vectors`, ended by a softmax."""
    return nn.Sequential(*vectors(), nn.Softmax(dim=1))


def one_logit() -> nn.Module:
    """Of two classes with one output, on (N, 12)."""
    torch.manual_seed(6)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))
