"""All benchmarks, one after the other: `make bench`, or `python -m benchmarks [--quick | --tiny] [NAME …]`."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import importlib  # noqa: E402 - the environment comes first
import logging  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from dataclasses import replace  # noqa: E402

import structlog  # noqa: E402

from benchmarks.report import Result, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402

NAMES = (
    "codecs",
    "ingest",
    "defaults",
    "rows",
    "ridge_cost",
    "row_by_row",
    "streams",
    "promises",
    "newcomers",
    "class_order",
    "rare_classes",
    "many_events",
    "freshness",
    "nearest_mean",
    "calibration",
    "columns",
    "peers",
    "memory",
    "latency",
    "freshness_slo",
    "relay",
    "traces_cost",
    "micro_batches",
    "replicas",
    "learners",
    "shards",
    "take_over",
    "swaps",
    "idle",
    "idle_shards",
    "bottleneck",
    "bottleneck_streams",
    "error_memory",
    "prompt_tpp",
    "experts",
    "cotta",
    "cotta_newcomer",
    "drift",
    "drift_actions",
    "drift_news",
    "drift_seasons",
    "late_labels",
    "overload",
    "scrape",
    "durability",
    "log_bytes",
    "restart",
    "evaluation",
    "adapters",
    "scale_quality",
    "scale_simulation",
)


def main(arguments: list[str]) -> int:
    """Run those named, or all; the exit code is 1 if one could not run, 0 also if a target was missed."""
    scale = Scale.asked(arguments)
    names = [name for name in arguments if not name.startswith("-")] or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark is called {unknown[0]!r}; known: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    results: list[Result] = []
    failed: list[str] = []
    for name in names:
        try:
            found = importlib.import_module(f"benchmarks.{name}").run(scale)
        except Exception:  # of what kind soever: the others still have something to say
            traceback.print_exc()
            failed.append(name)
            continue
        if scale is Scale.TINY:  # so little says nothing about a target
            found = [replace(result, target=None, met=None) for result in found]
        show(name, found)
        results += found
    met = sum(result.met is True for result in results)
    missed = [result.name for result in results if result.met is False]
    print(f"{met} targets met, {len(missed)} missed" + "".join(f"\n  missed: {name}" for name in missed))
    if failed:
        print(f"{len(failed)} of {len(names)} benchmarks failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
