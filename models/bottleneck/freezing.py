"""From unlabelled inputs to frozen keys: scale, projections, keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.names import CPU
from thalweg.memory.started_folder import placed
from thalweg.models.bottleneck.codes import Codes, draw_projection, projected, scale_of
from thalweg.models.bottleneck.components import leading_components
from thalweg.models.bottleneck.key_learning import learn_keys
from thalweg.models.bottleneck.params import Params
from thalweg.models.contract.learner import LearnerContext
from thalweg.proto.schema import InputError

if TYPE_CHECKING:
    from thalweg.memory.devices.device import Device

Floats = NDArray[np.float64]

_LARGEST = 1e15
"""Rows with larger numbers are excluded from the scale; if there are no others, they are clipped."""


def search_device(context: LearnerContext) -> Device | None:
    """Where keys are searched; None: with the processor, without torch. Raises DeviceFailed."""
    if context.device == CPU:
        return None
    from thalweg.memory.devices.device import Device

    return Device.open(context.device, context.device_bytes)


def rows_of_file(path: str, width: int) -> Floats:
    """The unlabelled inputs (N, F) of a `key_file`; raises InputError if it holds something else."""
    try:
        rows = np.load(placed(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"key_file {path!r}: cannot be read: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind not in "fiub" or not len(rows):
        raise InputError(f"key_file {path!r}: expected numbers (N, {width}), got {rows.shape} {rows.dtype}")
    numbers: Floats = rows.astype(np.float64)
    return numbers


def frozen_codes(params: Params, rows: Floats, seed: int, device: Device | None = None) -> Codes:
    """Learn keys from unlabelled finite inputs (N, F), N ≥ 1; `device`: where they are searched, None: here."""
    with np.errstate(invalid="ignore"):
        sound = rows[(np.abs(rows) < _LARGEST).all(axis=1)]
        if not len(sound):
            sound = np.nan_to_num(np.clip(rows, -_LARGEST, _LARGEST))
    width = sound.shape[1]
    shift, factor = scale_of(sound) if params.standardise else (np.zeros(width), np.ones(width))
    projection = _projection(params, (sound - shift) * factor, seed)
    queries = projected(sound, shift, factor, projection).reshape(len(sound), params.heads, params.key_width)
    keys = learn_keys(
        queries,
        params.pairs,
        steps=params.key_steps,
        batch=params.key_batch,
        dead_factor=params.dead_factor,
        generator=np.random.Generator(np.random.PCG64([seed, 0x6B657973])),
    )
    return Codes.of({"shift": shift, "factor": factor, "projection": projection, "keys": keys}, params.search, device)


def _projection(params: Params, scaled: Floats, seed: int) -> Floats:
    """(F, C·d): of the leading components of scaled rows (N, F), or of the inputs themselves."""
    if params.components and (directions := leading_components(scaled, params.components)).shape[1]:
        return directions @ draw_projection(directions.shape[1], params.heads, params.key_width, seed)
    return draw_projection(scaled.shape[1], params.heads, params.key_width, seed)
