"""Options of a request for rows, after the `?` of its address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from thalweg.ops.serve.by_key.keys import key_of
from thalweg.ops.serve.inference import USUAL_EXPLANATION
from thalweg.ops.serve.known_names import check_options
from thalweg.ops.serve.versions import CURRENT, Freshness, version_number
from thalweg.proto.schema import Array, InputError

OPTIONS = ("as_of_version", "event_id", "explain", "key", "min_state_version", "outputs")
_LONGEST_NUMBER = 9


class RowsRead(NamedTuple):
    """What the rows of a request hold."""

    inputs: Mapping[str, Array]
    """By name, each (N, ...)."""
    ids: list[str | None]
    """(N,)."""
    keys: Sequence[str | None] | None
    """(N,); None: no row has one."""


def joined(pieces: Sequence[RowsRead]) -> RowsRead:
    """What the rows of all pieces hold. Raises InputError where they do not fit together."""
    first = pieces[0]
    inputs: dict[str, Array] = {}
    for name, array in first.inputs.items():
        others = [piece.inputs.get(name) for piece in pieces]
        for piece, other in zip(pieces, others):
            if other is None or other.shape[1:] != array.shape[1:] or piece.inputs.keys() != first.inputs.keys():
                raise InputError(f"input {name!r:.80}: expected rows of one form, with the same inputs in each")
        inputs[name] = np.concatenate([other for other in others if other is not None])
    ids = [id for piece in pieces for id in piece.ids]
    if all(piece.keys is None for piece in pieces):
        return RowsRead(inputs, ids, None)
    return RowsRead(inputs, ids, [key for piece in pieces for key in piece.keys or [None] * len(piece.ids)])


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What a request asks for beside predictions."""

    freshness: Freshness = CURRENT
    outputs: tuple[str, ...] = ()
    """Names of the outputs; empty: all."""
    event_id: str | None = None
    """The id of the only row."""
    explain: int = 0
    """Explanation entries per row; 0: none."""
    key: bytes | None = None
    """The key of all rows that have none of their own, for a model by key or with an input `key`; None: not given."""

    @classmethod
    def of(cls, query: Sequence[tuple[str, str]]) -> RowOptions:
        """The options in a query. Raises InputError, with the nearest name for one that there is not."""
        check_options([name for name, _ in query], OPTIONS)
        given = dict(query)
        if len(given) < len(query):
            names = [name for name, _ in query]
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise InputError(f"option {twice!r}: given twice")
        versions = {
            name: version_number(given[name], name) if name in given else None
            for name in ("min_state_version", "as_of_version")
        }
        return cls(
            Freshness(versions["min_state_version"], versions["as_of_version"]) if _any_given(versions) else CURRENT,
            tuple(name for name in given.get("outputs", "").split(",") if name),
            given.get("event_id"),
            _explain(given["explain"]) if "explain" in given else 0,
            key_of(given["key"], "option 'key'") if "key" in given else None,
        )


def _any_given(versions: dict[str, int | None]) -> bool:
    """Whether one of them is demanded."""
    return any(version is not None for version in versions.values())


def place_of(row: int, single: bool) -> str:
    """The beginning of an error's text: which row; nothing for a single one."""
    return "" if single else f"row {row}: "


def _explain(text: str) -> int:
    if text in ("", "true"):
        return USUAL_EXPLANATION
    if text == "false":
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise InputError(f"option 'explain': expected true, false or a whole number, got {text!r:.80}")
    return int(text)
