"""Helm for tests of the chart: it renders and checks, and needs no cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.services.processes import Unavailable

_BUILT = Path(__file__).parents[2] / ".cache" / "helm"


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `helm`: that of the folder THALWEG_HELM, that of `make services`, or the one on the path."""
    own = os.environ.get("THALWEG_HELM")
    found = shutil.which("helm", path=own) if own else shutil.which("helm", path=_BUILT) or shutil.which("helm")
    if found is None:
        raise Unavailable("no helm; run: make services (it builds helm with Go)")
    return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True)
