"""A small picture classifier, and how it is trained on clean pictures: what adaptation starts from.

`python -m benchmarks.small_cnn FILE.safetensors [grouped]` trains it, with batch norm or with group norm (about two
minutes), and writes its weights.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks.streams import SHARED
from thalweg.models.parts.torch_setup import Tensor, functional, torch

IMAGES = SHARED / "data" / "images"
PASSES, BATCH, RATE = 12, 64, 0.05


def classifier(classes: int = 10) -> torch.nn.Module:
    """Four convolutions with batch norm on grey pictures (N, 1, 28, 28) in [0, 1]; 32,154 weights."""
    return _convolutions(torch.nn.BatchNorm2d, classes)


def grouped(classes: int = 10) -> torch.nn.Module:
    """The same with group norm, of eight groups: its answer to an input depends on no other, nor on statistics."""
    return _convolutions(lambda width: torch.nn.GroupNorm(8, width), classes)


def _convolutions(norm: Callable[[int], torch.nn.Module], classes: int) -> torch.nn.Module:
    def block(before: int, after: int) -> list[torch.nn.Module]:
        return [torch.nn.Conv2d(before, after, 3, padding=1, bias=False), norm(after), torch.nn.ReLU()]

    return torch.nn.Sequential(
        *block(1, 16),
        *block(16, 16),
        torch.nn.MaxPool2d(2),
        *block(16, 32),
        *block(32, 32),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 7 * 7, classes),
    )


def pictures(name: str, count: int | None = None) -> dict[str, NDArray[np.generic]]:
    """The arrays of one of the shared sets, or the first rows of each."""
    with np.load(IMAGES / f"{name}.npz") as arrays:
        return {key: arrays[key][:count] for key in arrays.files}


def as_input(raw: NDArray[np.generic]) -> NDArray[np.float32]:
    """Bytes (N, 28, 28) as (N, 1, 28, 28) in [0, 1]."""
    found: NDArray[np.float32] = (raw[:, None] / 255.0).astype(np.float32)
    return found


def train(
    make: Callable[[], torch.nn.Module] = classifier, seed: int = 0, passes: int = PASSES, count: int | None = None
) -> torch.nn.Module:
    """On the clean training pictures, flipped and shifted."""
    torch.manual_seed(seed)
    data = pictures("fashion_mnist", count)
    x, y = torch.from_numpy(as_input(data["x_train"])), torch.from_numpy(data["y_train"].astype(np.int64))
    model = make().train()
    steps = passes * (len(x) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(passes):
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            loss = functional.cross_entropy(model(_varied(x[rows])), y[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _varied(x: Tensor) -> Tensor:
    """Each shifted by two pixels at most, half of them mirrored."""
    padded, rows, side = functional.pad(x, (2, 2, 2, 2)), torch.arange(len(x)), torch.arange(28)
    down, right = torch.randint(0, 5, (len(x), 1)) + side, torch.randint(0, 5, (len(x), 1)) + side
    moved = padded[rows[:, None, None], 0, down[:, :, None], right[:, None, :]][:, None]
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, moved.flip(3), moved)


def trained(
    cache: Path, make: Callable[[], torch.nn.Module] = classifier, passes: int = PASSES, count: int | None = None
) -> Path:
    """The file with its weights, trained now if it is not there."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        beside = cache.with_suffix(".partial")
        save_file(train(make, passes=passes, count=count).state_dict(), beside)
        beside.rename(cache)
    return cache


def error(model: torch.nn.Module, x: NDArray[np.float32], y: NDArray[np.generic]) -> float:
    """Share of wrong answers."""
    with torch.no_grad():
        wrong = [
            model(torch.from_numpy(x[at : at + 500])).argmax(1).numpy() != y[at : at + 500]
            for at in range(0, len(x), 500)
        ]
    return float(np.concatenate(wrong).mean())


if __name__ == "__main__":
    make = grouped if "grouped" in sys.argv[2:] else classifier
    path = trained(Path(sys.argv[1]), make)
    model = make()
    model.load_state_dict(load_file(path))
    clean = pictures("fashion_mnist")
    print(f"{path}: clean error {100 * error(model.eval(), as_input(clean['x_test']), clean['y_test']):.1f} %")
