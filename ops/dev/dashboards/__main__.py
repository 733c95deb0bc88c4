"""Writes ops/grafana/dashboards/*.json."""

from __future__ import annotations

import json
from pathlib import Path

from thalweg.ops.dev.dashboards.ingest import ingest
from thalweg.ops.dev.dashboards.model import model
from thalweg.ops.dev.dashboards.overview import overview
from thalweg.ops.dev.dashboards.service import service

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"


def written() -> dict[str, str]:
    """The text of each file by its name."""
    made = {"overview": overview(), "model": model(), "service": service(), "ingest": ingest()}
    return {f"{name}.json": json.dumps(one, indent=1) + "\n" for name, one in made.items()}


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
