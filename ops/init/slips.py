"""Classes of a label that look like slips of the pen: seen once, and another class but for case, spaces or one edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_LEAST_LETTERS = 4
_MOST_CLASSES = 2000  # each is held against all others
_MOST_NAMED = 3


def slips(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Each such class with the one that may be meant, which came more often."""
    counts = Counter(texts)
    if len(counts) > _MOST_CLASSES:
        return []
    often = [text for text, count in counts.most_common() if count > 1]
    found = []
    for text in (text for text, count in counts.items() if count == 1):
        meant = next((other for other in often if _alike(text) == _alike(other)), None)
        if meant is None and len(text) >= _LEAST_LETTERS:
            meant = next((other for other in often if one_edit(text, other)), None)
        if meant is not None:
            found.append((text, meant))
    return found


def _alike(text: str) -> str:
    """Without the case of letters and the spaces around it."""
    return text.strip().casefold()


def slips_told(texts: Iterable[str]) -> str:
    """For people; empty if there are none."""
    texts = list(texts)
    return "; ".join(filter(None, (_once_told(slips(texts)), _alike_told(Counter(texts)))))


def _alike_told(counts: Counter[str]) -> str:
    """Classes that came several times and differ by case or spaces around them alone, for people."""
    often = [text for text, count in counts.most_common() if count > 1]
    if len(counts) > _MOST_CLASSES:
        return ""
    kinds: dict[str, list[str]] = {}
    for text in often:
        kinds.setdefault(_alike(text), []).append(text)
    alike = [
        " and ".join(f"{text!r:.80} ({counts[text]:,})" for text in kind) for kind in kinds.values() if len(kind) > 1
    ]
    if not alike:
        return ""
    return f"classes that differ by case or spaces alone: {', '.join(alike[:_MOST_NAMED])}; each is a class of its own"


def _once_told(found: list[tuple[str, str]]) -> str:
    if not found:
        return ""
    named = ", ".join(f"{text!r:.80} (once; {other!r:.80}?)" for text, other in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f"classes that look mistyped: {named}{more}; each would be a class of its own"


def one_edit(text: str, other: str) -> bool:
    """Whether one letter put in, left out, exchanged, or swapped with the next makes one of the other. Digits count up
    names (`sensor1`, `sensor2`), and are no slips.
    """
    if text == other or abs(len(text) - len(other)) > 1:
        return False
    short, long = sorted((text, other), key=len)
    start = next((place for place, (one, two) in enumerate(zip(short, long)) if one != two), len(short))
    if len(short) < len(long):
        return short[start:] == long[start + 1 :] and not long[start].isdigit()
    if short[start + 1 :] == long[start + 1 :]:
        return not short[start].isdigit() and not long[start].isdigit()
    swapped = short[start + 1 : start + 2] + short[start]
    return not swapped.isdigit() and long[start : start + 2] == swapped and short[start + 2 :] == long[start + 2 :]
