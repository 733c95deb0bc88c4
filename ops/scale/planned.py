"""`thalweg scale plan`: measures here what a model costs, and says what a rate needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.failed import Failed
from thalweg.ops.scale.measure import measure
from thalweg.ops.scale.plan import Pace, plan
from thalweg.ops.scale.show import show


def run(
    config: Config, names: Sequence[str], rate: float, partitions: int | None, seconds: float, *, as_json: bool
) -> None:
    """Print the plan of each model, or of those named. Raises Failed if a rate cannot be had as it is configured."""
    models = [config.find(name) for name in names] or config.model
    measured = [measure(config, model, seconds) for model in models]
    plans = [plan(costs, rate, partitions, _pace(model)) for costs, model in zip(measured, models)]
    if as_json:
        found = [
            {"plan": made.as_json(), "measured": {**asdict(costs), "other_seconds": costs.other_seconds}}
            for costs, made in zip(measured, plans)
        ]
        print(json.dumps({"models": found}, indent=2))
    else:
        show(Console(highlight=False, soft_wrap=True), measured, plans)
    if short := [made for made in plans if made.advice]:
        names_of = ", ".join(made.model for made in short)
        raise Failed(f"{rate:,.0f} events/s cannot be learned as it is configured: {names_of}")


def _pace(model: ModelConfig) -> Pace:
    merging = model.sharded is not None and model.sharded.answers == "merge"
    return Pace(
        snapshot_events=model.snapshot_events,
        snapshot_seconds=model.snapshot_seconds,
        publish_share=model.publish_share,
        merge_seconds=model.sharded.merge_seconds if model.sharded is not None and merging else None,
    )
