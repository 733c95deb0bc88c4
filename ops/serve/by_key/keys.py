"""The key of each row of a request to a model by key: from its parameter `key`, its input `key`, or its rows.

A key is the key of its event's record, byte for byte. Texts stand for their UTF-8, whole numbers for their digits, as
in events; an empty key is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.proto.bounds.limits import MAX_KEY_BYTES
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec

KEY = "key"
"""The parameter, the input, the option and the field of rows that hold a key."""
KEY_SPEC = TensorSpec(KEY, "bytes", (), optional=True)
"""The input, for metadata: the parameter does as well."""
ROUTE = "~key"
"""What the keys are called among the inputs of a checked request, (N,) of bytes or None: a model may have an input
`key` of its own, of another form."""


class RequestKeys:
    """Reads the keys of requests to one model. Thread-safe.

    Args:
        model: Its name, for messages.
        inputs: The inputs of its events. Of them, a text `key` is a key and stays an input.
        needed: Whether each row must have a key.
    """

    def __init__(self, model: str, inputs: Mapping[str, TensorSpec], *, needed: bool) -> None:
        self._model, self._needed = model, needed
        self._own, self._other = has_key(inputs), KEY in inputs and not has_key(inputs)

    def read(self, inputs: Inputs, of_all: bytes | None, of_rows: Sequence[bytes | None] | None) -> Inputs:
        """The inputs with the keys, as `ROUTE`.

        Args:
            inputs: Those of the request, not validated yet.
            of_all: The key of all rows; None: not given.
            of_rows: The key of each row, (N,); None: not given.

        Raises:
            InputError: A row has no key, or two; or a key is none. The message says what was expected.
        """
        if ROUTE in inputs:
            raise InputError(f"input {ROUTE!r}: no such input")
        found = dict(inputs)
        column = None if self._other else inputs.get(KEY)
        rows = _rows(inputs)
        if column is not None and not self._own:
            del found[KEY]
        keys = None if column is None else _of_column(column, rows)
        if of_rows is not None:
            keys = _both(keys, list(of_rows), "the row's field 'key'")
        if of_all is not None:
            _check(of_all)
            keys = _both(keys, [of_all] * rows, "the parameter 'key'")
        if keys is None:
            keys = [None] * rows
        if self._needed and not all(keys):
            raise InputError(self._missing(keys))
        routes = np.empty(len(keys), dtype=object)
        routes[:] = [key or None for key in keys]
        found[ROUTE] = routes
        return found

    def _missing(self, keys: Sequence[bytes | None]) -> str:
        row = next(place for place, key in enumerate(keys) if not key)
        where = f" in row {row}" if len(keys) > 1 else ""
        return (
            f"model {self._model!r} answers by key: expected a key for each row, as the parameter or the option 'key', "
            f"an input 'key' (BYTES, shape [N]) or the field 'key' of a row; got none{where}"
        )


def bare(inputs: Inputs) -> Inputs:
    """The inputs without the keys."""
    return {name: one for name, one in inputs.items() if name != ROUTE} if ROUTE in inputs else inputs


def key_of(value: Any, what: str) -> bytes:
    """The key that a text or a whole number stands for. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{what}: expected a string or a whole number, got {str(value)[:80]}")
    try:
        found = str(value).encode()
    except UnicodeEncodeError:
        raise InputError(f"{what}: expected valid UTF-8, got {value!r:.80}") from None
    _check(found, what)
    return found


def keys_of(texts: Sequence[str | None] | None) -> list[bytes | None] | None:
    """Keys as decoded events have them, as bytes."""
    return None if texts is None else [None if text is None else text.encode() for text in texts]


def check_texts(keys: Sequence[bytes | None]) -> None:
    """Raise InputError for keys that an event which waits for its label cannot have: it holds a text."""
    for key in keys:
        if key is not None and not _is_utf8(key):
            raise InputError(f"key: expected valid UTF-8 where a label is waited for, got {key!r:.80}")


def has_key(inputs: Mapping[str, TensorSpec]) -> bool:
    """Whether a model's events have their key as an input, too."""
    return KEY in inputs and inputs[KEY].dtype == "bytes" and inputs[KEY].shape == ()


def record_keys(batch: Batch, *, as_input: bool) -> list[bytes | None]:
    """The key of each event's record, (N,).

    Args:
        batch: The events.
        as_input: The input `key` is the key of an event that has no other, so that it comes to the shard that answers
            for it.
    """
    keys = keys_of(batch.keys) or [None] * len(batch)
    if not as_input:
        return keys
    return [key or own or None for key, own in zip(keys, batch.inputs[KEY].tolist())]


def _of_column(column: Array, rows: int) -> list[bytes | None]:
    """The keys in an input, one for each row."""
    shape = tuple(column.shape)
    if column.dtype != object and column.dtype.kind not in "iu":
        raise InputError(f"input 'key': expected BYTES of shape [{rows}], got {column.dtype.name}")
    if shape not in ((rows,), (rows, 1)):
        raise InputError(f"input 'key': expected shape [{rows}], one key for each row, got {list(shape)}")
    flat = column.reshape(-1).tolist()
    keys: list[bytes | None] = flat if column.dtype == object else [str(number).encode() for number in flat]
    longest = max(map(len, filter(None, keys)), default=0)
    if longest > MAX_KEY_BYTES:
        raise InputError(f"input 'key': expected at most {MAX_KEY_BYTES} bytes, got {longest}")
    return keys


def _both(keys: list[bytes | None] | None, others: list[bytes | None], what: str) -> list[bytes | None]:
    """Keys that were given twice; they must not contradict each other."""
    if keys is None:
        return others
    for row, (one, other) in enumerate(zip(keys, others)):
        if one and other and one != other:
            raise InputError(f"row {row}: has the key {one!r:.80}, and {what} says {other!r:.80}; send one of them")
    return [one or other for one, other in zip(keys, others)]


def _rows(inputs: Inputs) -> int:
    """N, of the inputs that are no key."""
    others = [one for name, one in inputs.items() if name != KEY] or list(inputs.values())
    return next((len(one) if one.ndim else 1 for one in others), 0)


def _check(key: bytes, what: str = "parameter 'key'") -> None:
    if len(key) > MAX_KEY_BYTES:
        raise InputError(f"{what}: expected at most {MAX_KEY_BYTES} bytes, got {len(key)}")


def _is_utf8(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
