"""With which software a model learns, the code of a learner from elsewhere included."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from thalweg.memory.snapshots.origin import code_of, software
from thalweg.models.contract.registry import BUILT_IN, PREFIXES, known

LEARNER_CODE = "code of the learner"
"""The hash of the sources of a learner that is not ours; what they import from other packages is not in it."""
_HAVE_VERSIONS = ("thalweg", *PREFIXES)


def learning_software(learner: str) -> Mapping[str, str]:
    """As `software`, with the hash of a plug-in or of an own estimator."""
    code = "" if learner in BUILT_IN else _own_code(learner)
    return software() | ({LEARNER_CODE: code} if code else {})


@cache
def _own_code(learner: str) -> str:
    prefix, colon, path = learner.partition(":")
    target = path if colon and prefix in PREFIXES else known().get(learner, "")
    top = target.partition(":")[0].partition(".")[0]
    if not top or top in _HAVE_VERSIONS:
        return ""
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    if spec.submodule_search_locations:
        return code_of([Path(place) for place in spec.submodule_search_locations])
    return code_of([Path(spec.origin)]) if spec.origin and spec.origin.endswith(".py") else ""
