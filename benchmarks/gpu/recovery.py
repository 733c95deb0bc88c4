"""A learner that is killed while it learns on a GPU, and goes on in another process: the state of one that was not.

`python -m benchmarks.gpu.recovery FOLDER FIRST LAST` learns micro-batches FIRST to LAST - 1 from the newest state of
the folder, saves a state after each, and prints a hash for each learner.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.memory.snapshots.state import State, read_state, write_state
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.cotta.learner import Cotta
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.prompt_tpp.predictor import KEY
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec

BATCHES = 6
_SIDE = 16
_IDS = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}


def learners(device: str) -> dict[str, Learner]:
    """One of each, of small size."""
    made: dict[str, tuple[Any, dict[str, TensorSpec], dict[str, Any]]] = {
        "ridge": (Ridge, {"x": TensorSpec("x", "float32", (16,))}, {"expansion": 600}),
        "error_memory": (ErrorMemory, _IDS, {"views": "user+item+key", "train_batch": 32, "centre_events": 50}),
        "cotta": (
            Cotta,
            {"image": TensorSpec("image", "float32", (3, _SIDE, _SIDE))},
            {"model": "benchmarks.gpu.network:residual", "adapt_batch": 16, "follow_batch": 16, "optimizer": "adam"},
        ),
        "prompt_tpp": (PromptTpp, KEY, {"unit_gaps": 10, "train_batch": 16, "width": 16}),
    }
    return {
        name: kind(LearnerContext(inputs=specs, params=params, seed=1, device=device))
        for name, (kind, specs, params) in made.items()
    }


def batch(name: str, number: int) -> Batch:
    """The micro-batch of a learner with this number."""
    generator, n = np.random.default_rng([number, len(name)]), 32
    codes = generator.integers(0, 4, n).astype(np.int32)
    times, ones, classes = 1e9 + 100.0 * number + np.arange(n), np.ones(n), ClassLabels(codes, tuple("abcd"))
    if name == "ridge":
        x = generator.standard_normal((n, 16)) + 2 * np.eye(4, 16)[codes]
        return Batch({"x": x.astype(np.float32)}, classes, ones, times)
    if name == "error_memory":
        inputs = {"user": generator.integers(0, 40, n), "item": generator.integers(0, 20, n)}
        return Batch(inputs, NumberLabels((codes % 2)[:, None].astype(float)), ones, times)
    if name == "cotta":
        return Batch({"image": generator.random((n, 3, _SIDE, _SIDE)).astype(np.float32)}, None, ones, times)
    keys = np.array([str(one).encode() for one in generator.integers(0, 8, n)], dtype=object)
    return Batch({"key": keys}, classes, ones, times)


def learn(folder: Path, first: int, last: int, device: str) -> dict[str, str]:
    """Learn and save; the hashes of the last states."""
    every = learners(device)
    for name, learner in every.items():
        if first:
            learner.restore(read_state(folder / f"{name}.{first}.safetensors"))
    for number in range(first, last):
        for name, learner in every.items():
            learner.learn(batch(name, number))
            learner.predictor()
            write_state(_whole(learner.state()), folder / f"{name}.{number + 1}.safetensors", durable=False)
        beside = folder / "learned.beside"
        beside.write_text(str(number + 1))
        beside.rename(folder / "learned")
    return {name: learner.state().sha256() for name, learner in every.items()}


def _whole(state: State) -> State:
    return State({name: np.ascontiguousarray(array) for name, array in state.tensors.items()}, state.meta)


def run() -> dict[str, bool]:
    """By learner, whether the state after a kill is that of an undisturbed run; in processes of their own."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        whole = json.loads(_process(one, 0, BATCHES).communicate()[0])
        killed, learned = _process(other, 0, BATCHES), Path(other) / "learned"
        while killed.poll() is None and (not learned.exists() or int(learned.read_text()) < BATCHES // 2):
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
        first = int(learned.read_text())
        again = json.loads(_process(other, first, BATCHES).communicate()[0])
        return {f"{name} (killed after {first} of {BATCHES})": whole[name] == again[name] for name in whole}


def _process(folder: str, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.gpu.recovery", folder, str(first), str(last)]
    blocks = {**os.environ, "THALWEG_GPU_BLOCKS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=blocks)


if __name__ == "__main__":
    from benchmarks.gpu.stand_in import gpu_or_stand_in

    with gpu_or_stand_in():
        print(json.dumps(learn(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "cuda")))
