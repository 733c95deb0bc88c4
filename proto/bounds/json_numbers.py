"""Numbers that JSON has not, as Python's `json.dumps` and others write them: NaN and infinities."""

from __future__ import annotations

import re

_TEXT_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|NaN|Infinity', re.DOTALL)
_WRITTEN = {b"NaN": b"null", b"Infinity": b"1e999"}


def has_such_numbers(text: bytes) -> bool:
    """Whether a JSON text may hold such numbers; a text in it may be spelt like one, too."""
    return b"NaN" in text or b"Infinity" in text


def strict_json(text: bytes) -> bytes:
    """The text as strict parsers read it: NaN, a missing value, is null, and an infinity is a number too large."""
    if not has_such_numbers(text):
        return text
    return _TEXT_OR_NUMBER.sub(lambda found: _WRITTEN.get(found[0], found[0]), text)
