"""What holds for every test: one thread for arithmetic, derandomised properties, and where shared data lies."""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before NumPy loads: two threads on busy cores are slower, and reorder sums

from pathlib import Path  # noqa: E402 - the environment comes first

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("thalweg", deadline=None, derandomize=True)
settings.load_profile("thalweg")

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("THALWEG_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden arrays and real streams; skips with the reason where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip(f"no golden arrays at {SHARED}; set THALWEG_SHARED to the folder that has golden/ and data/")
    return SHARED
