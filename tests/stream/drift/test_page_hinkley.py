"""Page-Hinkley in arrays."""

from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN, PageHinkley

from thalweg.stream.drift.methods.river import make


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["page_hinkley", "adwin"])
def test_changes_are_found_where_rivers_detectors_find_them_however_values_are_cut(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rate = np.repeat(np.tile([0.1, 0.5], 3), rng.integers(200, 1200, 6))
    values = (rng.random(len(rate)) < rate).astype(np.float64)
    rivers = PageHinkley(delta=0.02, threshold=25.0, mode="up") if name == "page_hinkley" else ADWIN(delta=1e-4)
    expected = [place for place, value in enumerate(values) if (rivers.update(value), rivers.drift_detected)[1]]

    ours, found, place = make(name, 25.0), [], 0
    while place < len(values):
        size = int(rng.integers(1, 300))
        first = ours.first(values[place : place + size], place)
        found += [place + first] if first >= 0 else []
        place += size

    assert expected
    assert set(found) <= set(expected)
    assert found[0] == expected[0]
