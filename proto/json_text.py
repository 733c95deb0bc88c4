"""JSON from untrusted sources, without texts that cannot be encoded again.

An escape such as `\\ud800` is a lone surrogate: Python decodes it into a string that UTF-8 cannot represent.
"""

from __future__ import annotations

import json
from typing import Any

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8; some producers write it before a text, where it says nothing."""


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
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    text = content.decode(json.detect_encoding(bytes(content[:4])))  # json.loads accepts lone surrogates
    found = json.loads(text)
    if "\\ud" in text or "\\uD" in text:  # only escapes lead to them
        _check(found)
    return found


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
            waiting += [((*path, key), part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, place), part) for place, part in enumerate(value)]


def _place(path: tuple[str | int, ...]) -> str:
    if len(path) == 2 and path[0] == "parameters":
        return f"parameter {path[1]!r:.80}"
    return ".".join(f"{part:.80}" if isinstance(part, str) else str(part) for part in path) or "the JSON"
