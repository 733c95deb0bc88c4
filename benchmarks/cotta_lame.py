"""What a window of the same caller is worth (LAME, behind the caller's own gate), beside the prior of all traffic.

All other settings are the defaults; one view is served.

Corrupted pictures, served one by one: class after class; shuffled, where nothing can be won; and from ten callers at
once, each of whom sends class after class, so that the traffic of all together is shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cotta_guards import SHUFFLED, WINDOW, Stream, served, streams, worst, wrong
from benchmarks.report import Result, at_most
from thalweg.models.cotta.learner import Cotta

CALLERS, KEPT = 10, 20
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "control: neither": {"class_prior": False},
    "class prior (default)": {},
    f"window = {KEPT}": {"window": KEPT},
}
Made = Callable[..., Cotta]


def of_callers(stream: Stream, random: np.random.Generator) -> tuple[Stream, NDArray[np.int64]]:
    """Each caller has a stretch of the stream; whose turn it is, is random. With who asks, (N,)."""
    x, y = stream
    each = len(x) // CALLERS
    callers = random.permutation(np.repeat(np.arange(CALLERS), each))
    rows = np.empty(len(callers), dtype=np.int64)
    for caller in range(CALLERS):
        rows[callers == caller] = caller * each + np.arange(each)
    return (x[rows], y[rows]), callers


def results(made: Made, source: Callable[[NDArray[np.float32]], NDArray[Any]], shown: int | None) -> list[Result]:
    """Error by stream and variant; `made` makes a learner, with a caller where it is told so."""
    all_streams = streams(shown)
    ordered, shuffled = all_streams["corrupted, class after class"], all_streams[SHUFFLED]
    mixed, callers = of_callers(ordered, np.random.default_rng(0))
    found = []
    for title, stream, who in (
        ("class after class", ordered, None),
        ("shuffled", shuffled, None),
        (f"{CALLERS} callers, each class after class", mixed, callers),
    ):
        x, y = stream
        if not len(x):
            continue
        theirs, plain = wrong(source(x), y), None
        for name, params in VARIANTS.items():
            known = who if "window" in params else None
            learner = made(serve_views=1, **params, **({"caller": "caller"} if known is not None else {}))
            ours = wrong(np.concatenate(list(served(learner, x, known))), y)
            plain = float(ours.mean()) if plain is None else plain
            note = f"source {100 * theirs.mean():.1f}; worst {WINDOW} {worst(ours, theirs):+.1f} points against it"
            result = Result(name=f"window, {title}: {name}", value=100 * float(ours.mean()), unit="%", note=note)
            if title == "shuffled" and "window" in params:
                result = at_most(result.name, result.value, "%", 102 * plain, note)
            found.append(result)
    return found
