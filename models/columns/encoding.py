"""Columns that an encoder takes as they are: what it makes of them is one list of numbers among the other columns.

So the numbers are centred and scaled by the stage, beside those of other columns, and have one name: that of the
column, or of all of them, as in `title + body`. Missing values come to the encoder as they are, empty or NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thalweg.memory.devices.names import CPU
from thalweg.models.contract.learner import ParamsError
from thalweg.models.encoders.encoder import FEATURES, Encoder, shared_encoder
from thalweg.models.encoders.spec import EncoderSpec
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Array, Inputs, column_specs


class EncodedColumns:
    """The columns of an encoder, and the list of numbers that it makes of them.

    Args:
        names: Of the columns.
        encoder: With the columns as inputs.
        taken: Names of all other columns.
    """

    def __init__(self, names: tuple[str, ...], encoder: Encoder, taken: frozenset[str]) -> None:
        self.columns, self._encoder = frozenset(names), encoder
        name = f"{' + '.join(sorted(names))} (encoded)"
        while name in taken:
            name += "'"
        (length,) = encoder.specs[FEATURES].shape
        self.made = Column(name=name, kind="list", length=length, missing="impute")
        self.computed_on = encoder.computed_on
        """As of the encoder."""
        self.identity = f"encoded {sorted(names)} {encoder.sha256}"

    def numbers(self, columns: Inputs, *, again: bool) -> Array:
        """The numbers (N, length) float64. Raises EncoderFailed."""
        given = {name: columns[name] for name in self._encoder.inputs_taken}
        found = self._encoder.cached_features(given) if again else self._encoder.inputs(given)[FEATURES]
        return found.astype(np.float64)


def encoded_columns(
    spec: EncoderSpec, columns: Mapping[str, Column], seed: int, device: str = CPU
) -> EncodedColumns | None:
    """The columns that an encoder takes, which computes on a device; None if it takes none as they are.

    Raises:
        ParamsError: There is no such column, or the encoder does not take them; keys `encoder_columns`, `encoder`, …
    """
    if not spec.columns:
        return None
    if unknown := [name for name in spec.columns if name not in columns]:
        text = f"no such column: {unknown[0]!r}; columns: {', '.join(columns):.200}"
        raise ParamsError({"encoder_columns": text})
    taken = {name: one for name, one in column_specs(columns).items() if name in spec.columns}
    encoder = shared_encoder(spec, "", taken, seed, device)
    return EncodedColumns(spec.columns, encoder, frozenset(columns.keys() - taken.keys()))
