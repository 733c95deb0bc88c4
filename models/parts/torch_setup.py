"""Torch as learners need it: import it from here.

One thread: how a sum is split among threads changes its last bits, and a state must not depend on how many cores a
machine has. Small networks are sooner computed by one thread, anyway, while others serve.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

torch.set_num_threads(1)

__all__ = ["Tensor", "functional", "torch"]
