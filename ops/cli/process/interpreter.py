"""The interpreter that a command runs in: one with the global interpreter lock, and one thread for its libraries."""

from __future__ import annotations

import os
import sys

from thalweg.ops.config.error import ConfigurationError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The environment variables by which libraries of arithmetic know how many threads to start."""


def start_no_threads() -> None:
    """Let libraries that are imported from now on start no threads, unless the environment says how many: they would
    start one for each core that they see, also where a container may use a part of one.
    """
    for name in THREADS:
        os.environ.setdefault(name, "1")


def require_the_lock() -> None:
    """Raises ConfigurationError in an interpreter that runs without the global interpreter lock: reading what another
    thread swaps in is safe by it, and nothing here has been tested without.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ConfigurationError(
            [
                f"{sys.executable} runs without the global interpreter lock, which Thalweg needs: set PYTHON_GIL=1, or "
                "use a build of Python that is not free-threaded"
            ]
        )
