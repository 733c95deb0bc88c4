"""What is said of a version that was rebuilt from the log, by what its state and the rebuilt one have in common."""

from __future__ import annotations

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.calibration.calibrated import has_calibration, without_calibration
from thalweg.models.columns.staged import STAGE_FIRED
from thalweg.stream.learn.rebuild import Rebuilt

_LACKS = (
    "without calibrated probabilities, that is by an earlier version or with probabilities = false; "
    "everything else of the state is the same"
)


def compared(snapshots: FolderSnapshots, version: int, rebuilt: Rebuilt) -> tuple[list[str], str]:
    """The problems of a version, and if it has none what is not comparable."""
    kept = snapshots.load(version).parts["learner"]
    expected, got = kept.sha256(), rebuilt.state_sha256
    if expected == got:
        return [], ""
    again = rebuilt.state
    if STAGE_FIRED in again.tensors and STAGE_FIRED not in kept.tensors:
        again = State({name: tensor for name, tensor in again.tensors.items() if name != STAGE_FIRED}, again.meta)
        if kept.sha256() == again.sha256():
            return [], "it was written by an earlier version, without which features fired; everything else is the same"
    if without_calibration(kept).sha256() != without_calibration(again).sha256():
        return [f"the log leads to another state: expected {expected}, got {got}"], ""
    if not has_calibration(kept):
        return [], f"it was written {_LACKS}"
    if not has_calibration(again):
        return [], "it was written with calibrated probabilities, which are off now; everything else is the same"
    return [
        "the log leads to the same state but for the calibration of probabilities, which began anew after the log's "
        "beginning if an earlier version wrote the first snapshots, or probabilities were switched on later"
    ], ""
