"""How an exception is named in logs, health and dead letters."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Class and first line of an exception, at most 200 characters of it."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__
