"""Ids as integers: models that know users and items by number take texts, too.

The text of an integer, written as Python writes it (`42`, `-7`; not `042`), is that integer, so that a number and its
text are one id. Any other text becomes a number of 63 bits by BLAKE2b, the same in every process and version. Two of n
such texts collide with a probability of about n² / 2⁶⁴: for a million 5 in 10⁸, for a hundred million 5 in 10⁴.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from thalweg.proto.bounds.limits import MAX_ID_BYTES
from thalweg.proto.columns import class_name
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.paths import shown
from thalweg.proto.schema import TensorSpec

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_MOST = 2**63 - 1


def id_number(name: str, value: Any) -> int:
    """The integer of an id, within int64.

    Args:
        name: Of the input, for messages.
        value: A text, as `str` or as UTF-8 bytes, or a number.

    Raises:
        Refused: It is neither; or an empty or too long text, a number beyond int64, or one with a fraction.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not -_MOST - 1 <= value <= _MOST:
            raise Refused("wrong_dtype", f"input {name!r:.80}: expected an integer of 64 bits, got {shown(value)}")
        return value
    if isinstance(value, float):
        if not value.is_integer():
            raise Refused("wrong_dtype", f"input {name!r:.80}: expected an integer or a text, got {shown(value)}")
        return id_number(name, int(value))
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise Refused("malformed", f"input {name!r:.80}: expected UTF-8, got {value!r:.80}") from None
    if not isinstance(value, str) or not value:
        raise Refused("wrong_dtype", f"input {name!r:.80}: expected an integer or a text, got {shown(value)}")
    if _INTEGER.fullmatch(value) and -_MOST - 1 <= int(value) <= _MOST:
        return int(value)
    return _hashed(name, value)


def id_text(name: str, value: Any) -> str:
    """The text of an id: of a number as that of a class name. Raises Refused for what is neither."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return class_name(value)
    raise Refused("wrong_dtype", f"input {name!r:.80}: expected a text or a number, got {shown(value)}")


def id_values(spec: TensorSpec, values: Sequence[Any]) -> Sequence[Any]:
    """Values of an input of ids, perhaps nested in lists: integers for an integer input, texts for one of `bytes`.

    Raises:
        Refused: One is no id.
    """
    kinds = set(map(type, values))
    if kinds == ({str} if spec.dtype == "bytes" else {int}):  # the usual case; the column finds too large ones
        return values
    of: Callable[[str, Any], Any] = id_text if spec.dtype == "bytes" else id_number

    def each(value: Any) -> Any:
        return [each(part) for part in value] if isinstance(value, list) else of(spec.name, value)

    return [each(value) for value in values]


def _hashed(name: str, text: str) -> int:
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise Refused("malformed", f"input {name!r:.80}: expected UTF-8, got {text!r:.80}") from None
    if len(content) > MAX_ID_BYTES:
        raise Refused(
            "too_large", f"input {name!r:.80}: expected an id of at most {MAX_ID_BYTES} bytes, got {len(content)}"
        )
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") & _MOST
