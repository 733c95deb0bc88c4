"""What is said of a version that was computed on another device than it is verified on."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.ops.cli.verified import Compared, compared
from thalweg.stream.learn.rebuild import Rebuilt

GPU = "NVIDIA H200, torch 2.11.0, CUDA 13.0, cuDNN 91900"
HERE = {"gram": np.array([[1.0, 0.0], [2.0, 3.0]]), "count": np.array([5])}


@pytest.mark.parametrize(
    ("software", "now", "tensors", "problems", "unlike"),
    [
        ({"device": GPU}, "", HERE, [], ""),
        (
            {"device": GPU},
            "",
            {**HERE, "gram": np.array([[1.0, 7.0], [2.0 + 3e-9, 3.0]])},
            [],
            f"it was computed on {GPU}, and here on the processor; arrays agree to 1e-09 of their largest number "
            "(the furthest: gram)",
        ),
        (
            {},
            GPU,
            {**HERE, "gram": HERE["gram"] * 2},
            [],
            f"it was computed on the processor, and here on {GPU}; arrays agree to 1e+00 of their largest number "
            "(the furthest: gram)",
        ),
        (
            {"devices_before": GPU},
            "",
            {"count": HERE["count"]},
            [f"the log leads to a state of other arrays; it was computed on {GPU}, and here on the processor"],
            "",
        ),
    ],
)
def test_a_version_of_another_device_is_compared_up_to_rounding(
    software: dict[str, str],
    now: str,
    tensors: dict[str, np.ndarray],
    problems: list[str],
    unlike: str,
    tmp_path: object,
) -> None:
    snapshots = FolderSnapshots(tmp_path)  # type: ignore[arg-type]
    snapshots.prepare()
    manifest = Manifest(
        model="m",
        version=1,
        parent=None,
        learner="ridge",
        config_sha256="",
        offsets={},
        events_learned=1,
        created=0.0,
        software=software,
    )
    snapshots.save(manifest, {"learner": State(HERE)})
    again = State(tensors)

    found = compared(snapshots, 1, Rebuilt(0, again.sha256(), 1, again, now))

    assert found == Compared(problems, unlike)
    assert snapshots.load(1).manifest.software.items() >= {**software, "thalweg": "0.1.0"}.items()
