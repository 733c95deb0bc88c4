"""Detectors of a change in one signal: River's, but for Page-Hinkley; the only file that imports river."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.methods.page_hinkley import PageHinkley

Floats = NDArray[np.float64]

DetectorName: TypeAlias = Literal["adwin", "page_hinkley", "kswin", "ddm"]
DETECTORS: tuple[DetectorName, ...] = get_args(DetectorName)
_KSWIN_EVERY = 64  # one test costs as much as hundreds of steps of the others
_KSWIN_WINDOW, _KSWIN_RECENT = 200, 60


class Detector(Protocol):
    """Finds changes in a stream of values."""

    def first(self, values: Floats, earlier: int) -> int:
        """Feed values (N,); the index of the first change, or -1. `earlier`: values before."""

    def score(self) -> float:
        """Score relative to the alarm threshold: 1 and above is a change."""


class _Stepped:
    """A detector of River, value by value."""

    def __init__(self, inner: Any, score: Callable[[Any], float]) -> None:
        self._inner = inner
        self._score = score

    def first(self, values: Floats, earlier: int) -> int:
        inner, update = self._inner, self._inner.update
        found = -1
        for place, value in enumerate(values.tolist()):
            update(value)
            if inner.drift_detected and found < 0:
                found = place
        return found

    def score(self) -> float:
        return self._score(self._inner)


class _Quick(Protocol):
    """A detector that takes many values at once."""

    def next(self, values: Floats) -> int:
        """Feed values (N,); the index of the first change, or -1."""

    def reset(self) -> None:
        """Begin anew."""

    def score(self) -> float:
        """As that of a detector."""


class _Resetting:
    """Resets a detector after each change, as River's do."""

    def __init__(self, inner: _Quick) -> None:
        self._inner = inner
        self.score = inner.score

    def first(self, values: Floats, earlier: int) -> int:
        found, fed = -1, 0
        while fed < len(values) and (place := self._inner.next(values[fed:])) >= 0:
            found = fed + place if found < 0 else found
            fed += place + 1
            self._inner.reset()
        return found


class _Adwin:
    """River's ADWIN without its wrapper in Python, which takes longer than the window in Rust."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._update = _class("adwin")(delta=1e-4)._helper.update

    def next(self, values: Floats) -> int:
        found = list(map(self._update, values.tolist()))
        return found.index(True) if True in found else -1

    def score(self) -> float:
        return 0.0  # see `SignalWatch.scores`


class _Kswin:
    """KSWIN on the last values, tested periodically: its random draws depend only on the number of values."""

    _ALPHA = 1e-5

    def __init__(self) -> None:
        self._last: list[float] = []
        self._score = 0.0

    def first(self, values: Floats, earlier: int) -> int:
        from river.drift import KSWIN

        found = -1
        count = earlier
        for place, value in enumerate(values.tolist()):
            self._last.append(value)
            count += 1
            if count % _KSWIN_EVERY or len(self._last) < _KSWIN_WINDOW:
                continue
            self._last = self._last[-_KSWIN_WINDOW:]
            test = KSWIN(self._ALPHA, _KSWIN_WINDOW, _KSWIN_RECENT, seed=count, window=self._last[:-1])
            test.update(value)
            self._score = float(np.log(max(test.p_value, 1e-300)) / np.log(self._ALPHA))
            if test.drift_detected and found < 0:
                found = place
        del self._last[:-_KSWIN_WINDOW]
        return found

    def score(self) -> float:
        return self._score


def preload(names: Iterable[str] = DETECTORS) -> None:
    """Import what the detectors of these names need, which takes a while: before a stream rather than within it."""
    for name in names:
        if name in _FILES:
            _class(name)
        elif name == "kswin":
            import river.drift  # noqa: F401


_FILES = {"adwin": ("adwin", "ADWIN"), "ddm": ("binary/ddm", "DDM")}
"""Modules within river.drift, and their classes."""


@cache
def _class(name: str) -> Any:
    """A detector's class, of its module alone: importing river.drift as a whole takes scikit-learn and scipy.stats
    along, and five times as long.
    """
    module, attribute = _FILES[name]
    package = find_spec("river")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        spec = spec_from_file_location(f"thalweg_river_{name}", Path(folder) / "drift" / f"{module}.py")
        if spec is None or spec.loader is None or not Path(str(spec.origin)).is_file():
            continue
        alone = module_from_spec(spec)
        sys.modules[spec.name] = alone
        spec.loader.exec_module(alone)
        return getattr(alone, attribute)
    return getattr(import_module(f"river.drift.{module.replace('/', '.')}"), attribute)  # it says what is missing


def make(name: str, patience: float) -> Detector:
    """A detector by its name."""
    if name == "kswin":
        return _Kswin()
    if name == "ddm":
        return _Stepped(_class(name)(), _ddm_score)
    if name == "adwin":
        return _Resetting(_Adwin())
    return _Resetting(PageHinkley(delta=0.02, threshold=patience))


def _ddm_score(inner: Any) -> float:
    if inner._p_min is None or not inner._s_min:
        return 0.0
    rate = inner._p.get()
    spread = (rate * (1 - rate) / inner._p.n) ** 0.5
    return float(max(0.0, (rate + spread - inner._p_min) / inner._s_min / inner.drift_threshold))
