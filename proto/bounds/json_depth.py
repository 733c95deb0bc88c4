"""How deeply a JSON text is nested, found without parsing it.

A parser stops at the depth of its own stack, which depends on who called it: the same record would be an event in one
process and refused in another. So the depth has a limit of its own.
"""

from __future__ import annotations

import re

import numpy as np

from thalweg.proto.bounds.limits import MAX_JSON_DEPTH

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def too_deep(text: bytes | bytearray, most: int = MAX_JSON_DEPTH) -> bool:
    """Whether objects and lists stand within each other more than `most` times. The text need not be valid JSON."""
    if text.count(b"[") + text.count(b"{") <= most:  # the usual case
        return False
    marks = np.frombuffer(_TEXT.sub(b"", text).translate(None, _NO_BRACKETS), dtype=np.uint8)
    opened = (marks == ord("[")) | (marks == ord("{"))
    closed = (marks == ord("]")) | (marks == ord("}"))
    depth = np.cumsum(opened.astype(np.int32) - closed.astype(np.int32))
    return bool(depth.max(initial=0) > most)
