"""JSON from untrusted sources: bounded in depth, and without texts that cannot be encoded again.

An escape such as `\\ud800` is a lone surrogate: Python decodes it into a string that UTF-8 cannot represent.
"""

from __future__ import annotations

import json
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
        super().__init__(f"{_place(path)}: expected valid UTF-8, got {text!r:.80}")


def json_of(content: bytes | bytearray) -> Any:
    """Decodes a JSON text.

    Raises:
        NotUtf8: A text or a key in it cannot be represented in UTF-8.
        TooDeep: It is nested too deeply.
        ValueError: It is not JSON; both of the above are such errors.
    """
    encoding = json.detect_encoding(bytes(content[:4]))
    text = content.decode(encoding)  # json.loads accepts lone surrogates
    if too_deep(content if encoding.startswith("utf-8") else text.encode("utf-8", "surrogatepass")):
        raise TooDeep(f"nested more than {MAX_JSON_DEPTH} levels deep")
    found = json.loads(text)
    if "\\ud" in text or "\\uD" in text:  # only escapes lead to them
        _check(found)
    return found


def expanded_bytes(content: bytes | bytearray) -> int:
    """About how many bytes of memory the decoded objects of a JSON text take; too many rather than too few."""
    values = content.count(b",") + content.count(b"[")
    text = len(content) if content.isascii() else 4 * len(content)
    return text + _VALUE_BYTES * values + _OBJECT_BYTES * content.count(b"{")


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can represent a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
