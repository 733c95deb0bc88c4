"""JSON from untrusted sources: bounded in depth, and without texts that cannot be encoded again.

An escape such as `\\ud800` is a lone surrogate: Python decodes it into a string that UTF-8 cannot represent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.limits import MAX_JSON_DEPTH

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8; some producers write it before a text, where it says nothing."""
_VALUE_BYTES, _OBJECT_BYTES = 64, 256  # of a value or a list with its place in a list; of an object with one key
_MAY_HOLD_TEXT = (str, dict, list)


class TooDeep(ValueError):
    """A JSON text is nested too deeply; the message names the bound."""


class NotUtf8(ValueError):
    """A text that UTF-8 cannot represent.

    Args:
        path: Its path: keys and list indices; for a key that is such a text itself, the path of its object.
        text: The text.
    """

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        self.path = path
        super().__init__(f"{_place(path)}: expected valid UTF-8, got {text!r:.80}, a lone surrogate")


class NumberTooLong(ValueError):
    """An integer has more digits than can be read; the message names its place and the bound."""


def json_of(content: bytes | bytearray) -> Any:
    """Decodes a JSON text.

    Raises:
        NotUtf8: A text or a key in it cannot be represented in UTF-8.
        NumberTooLong: An integer has too many digits.
        TooDeep: It is nested too deeply.
        ValueError: It is not JSON; the others are such errors, too.
    """
    encoding = json.detect_encoding(bytes(content[:4]))
    text = content.decode(encoding)  # json.loads accepts lone surrogates
    if too_deep(content if encoding.startswith("utf-8") else text.encode("utf-8", "surrogatepass")):
        raise TooDeep(f"nested more than {MAX_JSON_DEPTH} levels deep")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python's own words are for programmers
        raise _too_long(text) from None
    if "\\ud" in text or "\\uD" in text:  # only escapes lead to them
        _check(found)
    return found


def expanded_bytes(content: bytes | bytearray) -> int:
    """About how many bytes of memory the decoded objects of a JSON text take; too many rather than too few."""
    values = content.count(b",") + content.count(b"[")
    text = len(content) if content.isascii() else 4 * len(content)
    return text + _VALUE_BYTES * values + _OBJECT_BYTES * content.count(b"{")


def fault_of(content: bytes, error: Exception) -> str:
    """What is wrong with a text that a strict parser refuses, in words for its sender.

    Args:
        content: The text, not nested too deeply.
        error: The parser's error; its text is returned where nothing better is known.
    """
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_NotFinite)
        _check(found)
    except NotUtf8 as refused:
        return str(refused)
    except (ValueError, RecursionError):
        return str(error)
    where = next(((path, value) for path, value in _walk(found) if isinstance(value, _NotFinite)), None)
    return str(error) if where is None else f"{_place(where[0])}: {where[1]} is not allowed in JSON"


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can represent a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _NotFinite(str):
    """NaN or an infinity in a text: JSON has no such numbers."""


class _Digits(str):
    """An integer that is not read, because of its length."""


def _too_long(text: str) -> ValueError:
    """The error for a text with an integer of too many digits."""

    def read(digits: str) -> int | _Digits:
        try:
            return int(digits)
        except ValueError:
            return _Digits(digits.removeprefix("-"))

    for path, value in _walk(json.loads(text, parse_int=read)):
        if isinstance(value, _Digits):
            most = sys.get_int_max_str_digits()
            return NumberTooLong(f"{_place(path)}: expected a number of at most {most:,} digits, got {len(value):,}")
    return ValueError("a number cannot be read")


def _walk(found: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value with its path."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), found)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [((*path, place), part) for place, part in inner]


def _check(found: Any) -> None:
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), found)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            if not is_utf8(value):
                raise NotUtf8(path, value)
        elif isinstance(value, dict):
            for key in value:
                if not is_utf8(key):
                    raise NotUtf8(path, key)
            waiting += [((*path, key), part) for key, part in value.items() if isinstance(part, _MAY_HOLD_TEXT)]
        elif isinstance(value, list):
            waiting += [((*path, place), part) for place, part in enumerate(value) if isinstance(part, _MAY_HOLD_TEXT)]


def _place(path: tuple[str | int, ...]) -> str:
    if len(path) == 2 and path[0] == "parameters":
        return f"parameter {path[1]!r:.80}"
    return ".".join(f"{part:.80}" if isinstance(part, str) else str(part) for part in path) or "the JSON"


def as_json(value: Any, most: int = 80) -> str:
    """The beginning of a value as it stands in JSON, for a message: `null`, not `None`."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:most]
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return "a value that cannot be shown"
