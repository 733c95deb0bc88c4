"""Numbers of things in words."""

from __future__ import annotations

_PLURALS = {"class": "classes", "category": "categories", "process": "processes", "entry": "entries"}


def counted(number: int, what: str, many: str = "") -> str:
    """So many of them, with the noun's plural where it is not one.

    Args:
        number: How many.
        what: One of them.
        many: The plural where it is neither with an s nor known here.

    >>> counted(1, "class"), counted(2_000, "row"), counted(0, "line that is none", "lines that are none")
    ('1 class', '2,000 rows', '0 lines that are none')
    """
    return f"{number:,} {what if number == 1 else many or _PLURALS.get(what, f'{what}s')}"
