"""Predictions of one window corrected together: inputs that look alike are of one class.

Source: Boudiaf, Mueller, Ben Ayed and Bertinetto, "Parameter-free Online Test-time Adaptation" (LAME), CVPR 2022,
arXiv:2201.05718: the corrected probabilities z of M inputs minimise Σ_i KL(z_i ‖ q_i) − ½ Σ_ij w_ij z_i·z_j, q being
the network's and w an affinity of features, by steps z_i ∝ q_i · exp(Σ_j w_ij z_j) on all inputs at once, as in the
official code. Ours differs: affinities are made symmetric; a window may hold fewer inputs than its size. Nothing is
learned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

NEIGHBOURS, STEPS = 5, 100
_LEAST, _SETTLED = 1e-10, 1e-9


def affinities(features: Array, present: NDArray[np.bool_]) -> Floats:
    """w (N, M, M) of N windows: ½ for each of two inputs that has the other among its five nearest, else 0.

    Args:
        features: (N, M, D), of length 1.
        present: (N, M): which places of a window hold an input. Ties go to the lower place.
    """
    f = features.astype(np.float64)
    far = -np.matmul(f, f.swapaxes(1, 2))  # (N, M, M): falls with the distance, for all have length 1
    size = far.shape[1]
    far[~np.broadcast_to(present[:, None, :], far.shape)] = np.inf
    far[:, np.arange(size), np.arange(size)] = np.inf
    order = far.argsort(axis=2, kind="stable")[:, :, :NEIGHBOURS]
    near = np.zeros(far.shape)
    np.put_along_axis(near, order, 1.0, axis=2)
    near *= np.isfinite(far) & present[:, :, None]
    return np.asarray(0.5 * (near + near.swapaxes(1, 2)))


def corrected(shares: Array, features: Array, present: NDArray[np.bool_]) -> Floats:
    """z (N, M, K) of N windows; each window's does not depend on the others, to the bit.

    Args:
        shares: q (N, M, K), probabilities.
        features: (N, M, D), of length 1.
        present: (N, M); places without an input keep their q.
    """
    near = affinities(features, present)
    unary = np.log(np.maximum(shares.astype(np.float64), _LEAST))
    found = _softmax(unary)
    moving = np.arange(len(found))
    for _ in range(STEPS):
        if not len(moving):
            break
        step = _softmax(unary[moving] + np.matmul(near[moving], found[moving]))
        settled = np.abs(step - found[moving]).max(axis=(1, 2), initial=0.0) < _SETTLED
        found[moving] = step
        moving = moving[~settled]
    return found


def _softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
