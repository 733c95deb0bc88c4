"""Dead letters decoded for people: as JSON, else text, else bytes; truncated, with control characters escaped."""

from __future__ import annotations

import json
import unicodedata
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from thalweg.stream.log.dead_letters import DeadLetter, DeadLetters
from thalweg.stream.log.log import Log

MOST = 100
"""The most letters shown at once."""
_LONGEST_TEXT = 4000  # characters
_LARGEST_JSON = 64_000  # bytes; larger values are shown as text
_MOST_BYTES = 512
_MOST_HEADERS = 20
_MOST_ROWS = 20


def newest(log: Log, topics: Iterable[str], count: int) -> list[dict[str, Any]]:
    """The newest dead letters of these topics, newest first, ready for JSON. Raises LogError."""
    found: list[dict[str, Any]] = []
    for topic in topics:
        last = deque((shown(letter, topic) for letter in DeadLetters(log, topic).each_of_newest(count)), maxlen=MOST)
        found += reversed(last)
    found.sort(key=lambda letter: letter["time"] or 0.0, reverse=True)  # stable: equal times keep their order
    return found[:count]


def grouped(letters: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By reason, the most frequent first: how many of these letters (newest first), when the newest came, and that one
    as an example.
    """
    groups: dict[str, dict[str, Any]] = {}
    for letter in letters:
        group = groups.setdefault(
            letter["reason"], {"reason": letter["reason"], "count": 0, "newest": letter["time"], "example": letter}
        )
        group["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["count"])


def shown(letter: DeadLetter, topic: str) -> dict[str, Any]:
    """One dead letter of `topic`, ready for JSON."""
    return {
        "kept_in": f"{topic}.dlq",
        "model": _plain(letter.model),
        "reason": _plain(letter.reason),
        "detail": _plain(letter.detail),
        "topic": _plain(letter.topic),
        "partition": letter.partition,
        "offset": letter.offset,
        "time": letter.record.time,
        "rows": list(letter.rows[:_MOST_ROWS]),
        "key": decoded(letter.key),
        "value": decoded(letter.value) if letter.whole_bytes is None else _beginning(letter),
        "headers": [
            {"name": _plain(name[:200]), "value": decoded(content)}
            for name, content in list(letter.record.headers)[:_MOST_HEADERS]
        ],
    }


def _beginning(letter: DeadLetter) -> dict[str, Any]:
    """A value of which the log could keep only the beginning."""
    return {**decoded(letter.value), "size": letter.whole_bytes, "cut": True}


def decoded(content: bytes | None) -> dict[str, Any]:
    """Decoded for people: `kind` (`nothing`, `json`, `text`, `bytes`), `size`, `text`, and whether it was `cut`."""
    if content is None:
        return {"kind": "nothing", "size": 0, "text": "", "cut": False}
    kind, text, cut = "json", _json(content), False
    if text is None:
        kind, text, cut = "text", *_text(content)
    if text is None:
        kind, text, cut = "bytes", _bytes(content[:_MOST_BYTES]), len(content) > _MOST_BYTES
    cut = cut or len(text) > _LONGEST_TEXT
    return {"kind": kind, "size": len(content), "text": _plain(text[:_LONGEST_TEXT]), "cut": cut}


def _json(content: bytes) -> str | None:
    if len(content) > _LARGEST_JSON:
        return None
    try:
        found = json.loads(content)
        return json.dumps(found, indent=2, ensure_ascii=False) if isinstance(found, dict | list) else None
    except (ValueError, RecursionError):
        return None


def _text(content: bytes) -> tuple[str | None, bool]:
    """The text and whether it was truncated; None where it is not text or mostly control characters."""
    head = content[: 4 * _LONGEST_TEXT]
    cut = len(head) < len(content)
    for less in range(4 if cut else 1):  # a character may have been cut in two
        try:
            text = head[: len(head) - less].decode()
        except UnicodeDecodeError:
            continue
        unseen = sum(unicodedata.category(sign) == "Cc" and sign not in "\n\r\t" for sign in text)
        return (text, cut) if 10 * unseen <= len(text) else (None, False)
    return None, False


def _bytes(content: bytes) -> str:
    """Sixteen to a line, in hexadecimal and as ASCII."""
    lines = []
    for start in range(0, len(content), 16):
        part = content[start : start + 16]
        signs = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
        lines.append(f"{start:04x}  {part.hex(' '):<47}  {signs}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Escapes control characters and those that change the direction of reading."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign in "\n\t" or not unicodedata.category(sign).startswith("C") else f"\\u{{{ord(sign):x}}}"
        for sign in text
    )
