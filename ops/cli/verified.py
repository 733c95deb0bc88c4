"""What is said of a version that was rebuilt from the log, by what its state and the rebuilt one have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from thalweg.memory.devices.history import PROCESSOR, devices_before
from thalweg.memory.snapshots.origin import learned_with
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.calibration.calibrated import has_calibration, without_calibration
from thalweg.models.columns.staged import STAGE_FIRED
from thalweg.models.contract.revisions import LEARNER_CODE, learning_software
from thalweg.stream.learn.rebuild import Rebuilt

_LACKS = (
    "without calibrated probabilities, that is by an earlier version or with probabilities = false; "
    "everything else of the state is the same"
)
_SAYS_NOTHING = "so this says nothing of the log or the disk"
_SAME_SOFTWARE = (
    "the software is the same as here, as far as manifests tell: the log, the journal or the memory is not what it "
    "was, or this is a bug"
)
_THALWEG_ITSELF = {"thalweg", LEARNER_CODE}


@dataclass(frozen=True)
class Compared:
    """What a version and the state that was rebuilt for it have in common."""

    problems: list[str] = field(default_factory=list)
    unlike: str = ""
    """If there are no problems, what is not comparable."""
    other_software: bool = False
    """Whether the problems are no more than other software makes."""


def compared(snapshots: FolderSnapshots, version: int, rebuilt: Rebuilt) -> Compared:
    """What is said of a version that was rebuilt."""
    snapshot = snapshots.load(version)
    kept = snapshot.parts["learner"]
    expected, got = kept.sha256(), rebuilt.state_sha256
    if expected == got:
        return Compared()
    again = rebuilt.state
    others = learned_with(snapshot.manifest, rebuilt.base, learning_software(snapshot.manifest.learner))
    by = f"it was learned by other software ({'; '.join(_named(upto, differs) for upto, differs in others)})"
    if elsewhere := _computed_elsewhere(snapshot.manifest.software, rebuilt.computed_on):
        elsewhere += f"; {by}" if others else ""
        return _up_to_rounding(kept, again, elsewhere)
    if STAGE_FIRED in again.tensors and STAGE_FIRED not in kept.tensors:
        again = State({name: tensor for name, tensor in again.tensors.items() if name != STAGE_FIRED}, again.meta)
        if kept.sha256() == again.sha256():
            return Compared(
                unlike="it was written by an earlier version, without which features fired; everything else is the same"
            )
    same_but_calibration = without_calibration(kept).sha256() == without_calibration(again).sha256()
    if same_but_calibration and not has_calibration(kept):
        return Compared(unlike=f"it was written {_LACKS}")
    if same_but_calibration and not has_calibration(again):
        return Compared(
            unlike="it was written with calibrated probabilities, which are off now; everything else is the same"
        )
    text = f"the log leads to another state: expected {expected}, got {got}"
    if same_but_calibration:
        text += "; all of it but the calibration of probabilities is the same"
    if others:
        rounding = not any(_THALWEG_ITSELF & differs.keys() for _, differs in others)
        told = f"; {near}" if rounding and (near := _agreement(kept, again)) else ""
        return Compared([f"{text}; {by}, {_SAYS_NOTHING}{told}"], "", True)
    if same_but_calibration:
        return Compared([f"{text}; it begins later in the log where probabilities were switched on later"])
    return Compared([f"{text}; {_SAME_SOFTWARE}"])


def _named(upto: int, differs: Mapping[str, tuple[str, str]]) -> str:
    """Both values of what differs, of the software that learned up to a version."""
    return f"up to version {upto}: " + ", ".join(f"{name} {was}, here {now}" for name, (was, now) in differs.items())


def _computed_elsewhere(software: Mapping[str, str], now: str) -> str:
    """What of a version was computed elsewhere than on `now` (empty: the processor), in words; empty if nothing was."""
    others = devices_before(software, now)
    return f"it was computed on {' and '.join(others)}, and here on {now or PROCESSOR}" if others else ""


def _up_to_rounding(kept: State, again: State, elsewhere: str) -> Compared:
    """The same, of states whose bits differ because devices round differently."""
    if not (told := _agreement(kept, again)):
        return Compared([f"the log leads to a state of other arrays; {elsewhere}"])
    return Compared(unlike=f"{elsewhere}; {told}")


def _agreement(kept: State, again: State) -> str:
    """How far apart the numbers of two states are; empty if their arrays are not of the same shapes and types."""
    shapes = [{name: (each.shape, each.dtype) for name, each in one.tensors.items()} for one in (kept, again)]
    if shapes[0] != shapes[1]:
        return ""
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
    return f"arrays agree to {furthest:.0e} of their largest number (the furthest: {where})" if where else "all agree"
