"""What is said of a version that was rebuilt from the log, by what its state and the rebuilt one have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thalweg.memory.devices.history import PROCESSOR, devices_before
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
    snapshot = snapshots.load(version)
    kept = snapshot.parts["learner"]
    expected, got = kept.sha256(), rebuilt.state_sha256
    if expected == got:
        return [], ""
    again = rebuilt.state
    if elsewhere := _computed_elsewhere(snapshot.manifest.software, rebuilt.computed_on):
        return _up_to_rounding(kept, again, elsewhere)
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


def _computed_elsewhere(software: Mapping[str, str], now: str) -> str:
    """What of a version was computed elsewhere than on `now` (empty: the processor), in words; empty if nothing was."""
    others = devices_before(software, now)
    return f"it was computed on {' and '.join(others)}, and here on {now or PROCESSOR}" if others else ""


def _up_to_rounding(kept: State, again: State, elsewhere: str) -> tuple[list[str], str]:
    """The same, of states whose bits differ because devices round differently."""
    shapes = [{name: (each.shape, each.dtype) for name, each in one.tensors.items()} for one in (kept, again)]
    if shapes[0] != shapes[1]:
        return [f"the log leads to a state of other arrays; {elsewhere}"], ""
    furthest, where = 0.0, ""
    for name, wanted in kept.tensors.items():
        got = again.tensors[name]
        if wanted.dtype.kind != "f":
            continue  # counts and ids may follow from numbers, such as which prompt is the nearest
        if "gram" in name:  # of a symmetric matrix one triangle counts, and the other holds what was left there
            wanted, got = np.tril(wanted), np.tril(got)
        size = float(np.abs(wanted).max(initial=0.0))
        distance = float(np.abs(wanted.astype(np.float64) - got).max(initial=0.0)) / max(size, 1e-300)
        furthest, where = max((furthest, where), (distance, name))
    told = f"arrays agree to {furthest:.0e} of their largest number (the furthest: {where})" if where else "all agree"
    return [], f"{elsewhere}; {told}"
