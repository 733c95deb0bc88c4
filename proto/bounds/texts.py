"""Ids, keys, class names and other texts: valid UTF-8, and at most so many bytes."""

from __future__ import annotations

from collections.abc import Iterable

from thalweg.proto.bounds.limits import MAX_ID_BYTES, MAX_KEY_BYTES, MAX_LABEL_BYTES, MAX_TEXT_BYTES
from thalweg.proto.rejected import Reason, Refused

_UTF8_BYTES = 4  # most bytes of a character


def check_ids(ids: Iterable[str | None]) -> None:
    """Raises Refused for an id that is too long."""
    _check(ids, MAX_ID_BYTES, "bad_id", "id")


def check_keys(keys: Iterable[str | None]) -> None:
    """Raises Refused for a key that is too long."""
    _check(keys, MAX_KEY_BYTES, "bad_key", "key")


def check_classes(names: Iterable[str]) -> None:
    """Raises Refused for a class name that is empty, too long, or not valid UTF-8."""
    names = list(names)
    if "" in names:
        raise Refused("bad_label", "label: expected the name of a class, got an empty text")
    _check(names, MAX_LABEL_BYTES, "bad_label", "label")


def check_input_texts(name: str, texts: Iterable[bytes]) -> None:
    """Raises Refused for a text of an input that is too long."""
    longest = max(map(len, texts), default=0)
    if longest > MAX_TEXT_BYTES:
        raise Refused(
            "too_large", f"input {name!r:.80}: expected texts of at most {MAX_TEXT_BYTES} bytes, got {longest}"
        )


def utf8_bytes(text: str) -> int:
    """Its length in UTF-8. Raises UnicodeEncodeError for a lone surrogate."""
    return len(text.encode())


def _check(texts: Iterable[str | None], most: int, reason: Reason, what: str) -> None:
    for text in texts:
        if text is None or (len(text) * _UTF8_BYTES <= most and text.isascii()):
            continue
        try:
            length = utf8_bytes(text)
        except UnicodeEncodeError:
            raise Refused(reason, f"{what}: expected valid UTF-8, got {text!r:.80}") from None
        if length > most:
            raise Refused(reason, f"{what}: expected at most {most} bytes, got {length}")
