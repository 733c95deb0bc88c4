"""The leading components of unlabelled inputs, on one scale: in them nearness says more about classes.

Distances between wide inputs are ruled by a few directions of large variance (brightness, for pictures), and random
projections inherit that. So heads are projected from the leading principal components, each divided by the root of its
variance plus the mean variance: strong directions are evened out, and weak ones, mostly noise, are not blown up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Floats = NDArray[np.float64]

_MOST_ROWS = 4000
"""Rows that the components are computed from; with far fewer than inputs, weak components are those of the sample."""
_SMALLEST = 1e-10  # of the largest variance: below are rounding errors


def leading_components(rows: Floats, count: int) -> Floats:
    """Directions (F, R) of at most `count` components of scaled rows (N, F) of mean 0; R may be 0.

    Up to 4,000 rows are used, evenly spread.
    """
    rows = rows[:: -(-len(rows) // _MOST_ROWS)]
    n, width = rows.shape
    wide = n < width  # then the products of rows are fewer than those of columns
    products = (rows @ rows.T if wide else rows.T @ rows) / n
    size = len(products)
    variances, vectors = eigh(products, subset_by_index=(max(0, size - count), size - 1))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    sound = variances > _SMALLEST * max(float(variances[0]), 1e-300)
    variances, vectors = variances[sound], vectors[:, sound]
    directions = rows.T @ vectors / np.sqrt(n * variances) if wide else vectors
    mean = float(np.trace(products)) / width
    scaled: Floats = directions / np.sqrt(variances + mean)
    return scaled
