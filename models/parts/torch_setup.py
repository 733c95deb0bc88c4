"""torch, as configured for this process: learners import it from here."""

from __future__ import annotations

from thalweg.memory.torch_setup import Tensor, functional, torch

__all__ = ["Tensor", "functional", "torch"]
