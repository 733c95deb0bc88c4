"""With which software a state was learned, as manifests say it, and how that differs from the software here.

Versions do not tell two builds of one release apart, so the sources of what learns have a hash, `code`. Where NumPy,
its BLAS or the processor differ, sums are rounded otherwise. A state that goes on under other software keeps what it
was learned with before, so that a difference from a rebuilt one is put down to that, and not to the log or the disk.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from thalweg.memory.devices.history import BEFORE, DEVICE, as_software, devices_before
from thalweg.memory.snapshots.manifest import Earlier, Manifest
from thalweg.memory.software import version_of

THALWEG, CODE = "thalweg", "code"
CODE_BEFORE = "code not recorded"
"""Said of states from before the hash of the sources was in manifests."""
MOST_KEPT = 16
"""Most kinds of software that a manifest names beside the newest; of more the oldest are put together."""
_LEARNS = ("proto", "memory", "models", "stream")
_ALWAYS = ("thalweg", "numpy", "scipy")
_IF_USED = {"torch": "torch", "faiss": "faiss-cpu", "river": "river", "sklearn": "scikit-learn"}
"""By module, the name of its package."""


def software() -> dict[str, str]:
    """The software of this process: versions by name, of libraries that not every learner needs only if they are
    loaded, the hash of Thalweg's sources, the BLAS of NumPy with its kernels, and the kind of processor.
    """
    found = dict(_always())
    return found | {name: version_of(package, name) for name, package in _IF_USED.items() if name in sys.modules}


def code_of(places: Sequence[Path]) -> str:
    """A short hash of these Python sources, and of those in these folders; empty if there are none."""
    files = [
        (path.relative_to(place.parent), path)
        for place in places
        for path in ([place] if place.is_file() else place.rglob("*.py"))
    ]
    whole = hashlib.sha256()
    for name, path in sorted(files):
        content = path.read_bytes()
        whole.update(f"{name.as_posix()}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:12] if files else ""


def differences(was: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Of what both name, what differs: by name both values. What was saved without a hash of the sources may have been
    learned by any of that version.
    """
    pairs = {name: (was[name], now[name]) for name in now if name in was and name != CODE}
    if THALWEG in pairs:
        one, other = (f"{of[THALWEG]} ({f'code {of[CODE]}' if CODE in of else CODE_BEFORE})" for of in (was, now))
        pairs[THALWEG] = (one, other)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class Origin:
    """By what a state was learned that goes on in this process: on other devices, and by other software."""

    def __init__(self, devices: tuple[str, ...] = (), earlier: tuple[Earlier, ...] = ()) -> None:
        self._devices = devices
        self.earlier = earlier
        """Other software, oldest first, with the last version that each learned."""

    @classmethod
    def of(cls, manifest: Manifest, computed_on: str, now: Mapping[str, str]) -> Origin:
        """That of a saved state that goes on on this GPU (empty: the processor), by this software."""
        earlier = tuple(manifest.earlier)
        if differences(manifest.software, now):
            plain = {name: value for name, value in manifest.software.items() if name not in (DEVICE, BEFORE)}
            earlier = _bounded((*earlier, Earlier(manifest.version, plain)))
        return cls(devices_before(manifest.software, computed_on), earlier)

    def software(self, computed_on: str, now: Mapping[str, str]) -> dict[str, str]:
        """What a manifest says of a state that is computed on this GPU, by this software."""
        return {**now, **as_software(computed_on, self._devices)}


def learned_with(manifest: Manifest, base: int, now: Mapping[str, str]) -> list[tuple[int, dict[str, tuple[str, str]]]]:
    """With what other software than `now` a version was learned since version `base`: up to which version, and what of
    it differs.
    """
    all_of_it = [*manifest.earlier, Earlier(manifest.version, manifest.software)]
    found = [(one.upto, differences(one.software, now)) for one in all_of_it if one.upto > base]
    return [(upto, differs) for upto, differs in found if differs]


def _bounded(earlier: tuple[Earlier, ...]) -> tuple[Earlier, ...]:
    """Without repetitions, and at most as many as are kept: the oldest are taken for the one that came after them."""
    merged: list[Earlier] = []
    for one in earlier:
        if merged and merged[-1].software == one.software:
            merged.pop()
        merged.append(one)
    return tuple(merged[-MOST_KEPT:])


@cache  # reading the metadata of packages and all sources takes some ten milliseconds
def _always() -> Mapping[str, str]:
    found = {"python": platform.python_version(), "processor": platform.machine()}
    found |= {name: version_of(name) for name in _ALWAYS}
    root = Path(__file__).parents[2]
    libraries: list[dict[str, Any]] = [one for one in threadpool_info() if one["user_api"] == "blas"]
    of_numpy = [one for one in libraries if "numpy" in one["filepath"]] or libraries
    blas = sorted(f"{one['internal_api']} {one['version']} {one.get('architecture') or ''}".strip() for one in of_numpy)
    said = {CODE: code_of([root / name for name in _LEARNS]), "blas": ", ".join(dict.fromkeys(blas))}
    return found | {name: value for name, value in said.items() if value}
