"""On what a state was computed, as its manifest says it: the device now, and those before it.

Two devices round differently, so the same log leads to the same state to the bit only on the same kind of device and
software. A state goes on on any device; then its manifest names those that it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping

DEVICE, BEFORE = "device", "devices_before"
"""Keys of a manifest's software; without the first the state was computed on the processor."""
PROCESSOR = "the processor"
_BETWEEN = "; "


def devices_before(software: Mapping[str, str], now: str) -> tuple[str, ...]:
    """On what a saved state was computed that goes on on `now` (empty: the processor), other than that."""
    made = software.get(DEVICE, PROCESSOR)
    said = [one for one in software.get(BEFORE, "").split(_BETWEEN) if one]
    return tuple(dict.fromkeys(one for one in (*said, made) if one != (now or PROCESSOR)))


def as_software(now: str, before: tuple[str, ...]) -> dict[str, str]:
    """What a manifest says of it; nothing of a state that was always computed on the processor."""
    found = {DEVICE: now} if now else {}
    return found | ({BEFORE: _BETWEEN.join(before)} if before else {})
