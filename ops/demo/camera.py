"""The demo's fourth stream: a digit classifier without labels, and a camera lens that fogs over and clears again.

The service receives only requests, one image at a time; they become unlabelled events, and it adapts to them. The
same classifier, frozen, receives the same requests.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from thalweg.models.networks.torch_models import build
from thalweg.models.parts.torch_setup import functional, torch
from thalweg.ops.demo.picture import draw_curves
from thalweg.proto import inference_pb2 as pb

NAME, TOPIC = "camera", "camera.requests"
MODEL = """
[[model]]
name = "camera"
learner = "cotta"
topic = "camera.requests"
learn_from_requests = true
inputs.image = {{ shape = [1, 8, 8], dtype = "float32" }}
[model.params]
model = "thalweg.ops.demo.camera:classifier"
weights = "{weights}"
views = "jitter"
serve_views = 1
"""
RATE = 250.0
"""Images per second."""
_WINDOW, _TRAINED_ON, _PASSES = 200, 900, 12
_COLORS = {"adapting": "#0b6e99", "frozen": "#b3541e"}


def classifier() -> torch.nn.Module:
    """Images (N, 1, 8, 8) in [0, 1], ten classes."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(256, 10),
    )


def prepare(weights: Path) -> None:
    """Train the classifier on clean images and write its weights."""
    x, y = (torch.from_numpy(part[:_TRAINED_ON]) for part in _digits())
    model, generator = classifier().train(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(_PASSES):
        for rows in torch.randperm(_TRAINED_ON, generator=generator).view(-1, 50):
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    save_file(model.state_dict(), weights)


def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.images[order, None] / 16.0).astype(np.float32), data.target[order].astype(np.int64)


def fog(share: float) -> float:
    """Density of the fog at a fraction of the stream: it rises, stays, and clears."""
    return float(np.interp(share, [0.0, 0.2, 0.45, 0.75, 0.9, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]))


@dataclass
class _Seen:
    """Whether each prediction was wrong, by model."""

    wrong: dict[str, list[bool]] = field(default_factory=lambda: {name: [] for name in _COLORS})
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def error(self, name: str, end: int) -> float:
        """Error rate in the window before one."""
        part = self.wrong[name][max(0, end - _WINDOW) : end]
        return float(np.mean(part)) if part else float("nan")


def stream(console: Console, stub: Any, weights: Path, count: int, token: str) -> _Seen:
    """Send one image after the other."""
    x, y = (part[_TRAINED_ON:] for part in _digits())
    random, seen = np.random.default_rng(1), _Seen()
    frozen = build("thalweg.ops.demo.camera:classifier", str(weights))
    started = time.monotonic()
    for number in range(count):
        row, thick = int(random.integers(0, len(x))), fog(number / count)
        shown = (1 - 0.65 * thick) * x[row] + 0.5 * thick + random.normal(0, 0.06 * thick, (1, 8, 8))
        picture = np.clip(shown, 0.0, 1.0).astype(np.float32)[None]
        request = pb.ModelInferRequest(model_name=NAME)
        request.inputs.add(name="image", datatype="FP32", shape=picture.shape)
        request.raw_input_contents.append(picture.tobytes())
        before = time.perf_counter()
        answer = stub.ModelInfer(request, metadata=[("authorization", f"Bearer {token}")])  # it learns from requests
        seen.latencies.append(time.perf_counter() - before)
        seen.wrong["adapting"].append(int(answer.raw_output_contents[0][4:]) != y[row])  # after its length
        with torch.no_grad():
            seen.wrong["frozen"].append(int(frozen(torch.from_numpy(picture)).argmax()) != y[row])
        if number % max(1, count // 8) == 0 and number:
            figures = "  ".join(f"{name} {seen.error(name, number):.2f}" for name in _COLORS)
            console.print(
                f"{time.monotonic() - started:5.1f} s  camera   fog {thick:.1f}   error, last {_WINDOW}: {figures}",
                highlight=False,
            )
        time.sleep(max(0.0, started + number / RATE - time.monotonic()))
    seen.seconds = time.monotonic() - started
    return seen


def report(console: Console, seen: _Seen, folder: Path) -> None:
    """A table of the parts of the stream, and a plot in `folder` if matplotlib is installed."""
    count = len(seen.wrong["frozen"])
    ends = {"clear": 0.2, "fog comes": 0.45, "thick": 0.75, "clear again": 1.0}
    table = Table("camera, error", *ends, "all", box=None)
    for name in _COLORS:
        figures = [f"{seen.error(name, int(end * count)):.2f}" for end in ends.values()]
        table.add_row(name, *figures, f"{np.mean(seen.wrong[name]):.2f}")
    half, most = np.percentile(seen.latencies, [50, 99]) * 1000
    console.print()
    console.print(table)
    console.print(
        f"error over the {_WINDOW} pictures before; no label was told. predict p50/p99 {half:.2f} / {most:.2f} ms, "
        f"{count / seen.seconds:,.0f} pictures/s",
        highlight=False,
    )
    places = list(range(_WINDOW // 2, count + 1, 10))
    curves = {name: (places, [seen.error(name, end) for end in places]) for name in _COLORS}
    marks = {int(0.2 * count): "fog comes", int(0.75 * count): "it clears"}
    title = f"Digits through a lens that fogs over: error of the last {_WINDOW}"
    draw_curves(console, folder / "demo-camera.png", title, curves, _COLORS, marks)
