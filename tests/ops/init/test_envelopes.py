"""Records with something around their rows: what `init` writes of them is accepted, and learns from the rows alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thalweg.ops.cli import init
from thalweg.ops.config.config import load
from thalweg.ops.init.envelopes import unwrapped
from thalweg.ops.replay.replay import replay

MS = 1_700_000_000_000


def order(i: int) -> dict[str, Any]:
    return {"id": i // 2, "amount": (i * 37 % 101) / 4, "country": ["DE", "FR", "US"][i % 3], "label": "ab"[i % 2]}


def cloud_event(i: int) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"e{i}", "source": "/shop", "type": "order", "data": order(i)}


def connect(i: int) -> dict[str, Any]:
    return {"schema": {"type": "struct", "fields": [{"field": "id"}], "optional": False}, "payload": order(i)}


def change(i: int) -> dict[str, Any]:
    gone = i % 10 == 9
    source = {"version": "2.5", "connector": "postgresql", "ts_ms": MS + 1000 * i, "lsn": i}
    before = {**order(i - 1), "amount": 1.0} if i % 2 else None
    return {"before": before, "after": None if gone else order(i), "source": source, "op": "d" if gone else "cu"[i % 2]}


def framed_change(i: int) -> dict[str, Any]:
    return {"schema": {"type": "struct"}, "payload": change(i)}


@pytest.mark.parametrize(
    ("made", "before", "labelled"),
    [
        (cloud_event, "", 200),
        (connect, "payload.", 200),
        (change, "after.", 180),
        (framed_change, "payload.after.", 180),
    ],
)
def test_the_rows_within_are_learned_each_once_and_nothing_around_them(
    made: Callable[[int], dict[str, Any]], before: str, labelled: int, tmp_path: Path
) -> None:
    file, config = tmp_path / "t.jsonl", tmp_path / "c.toml"
    file.write_text("\n".join(json.dumps(made(i)) for i in range(200)))

    init.run(str(file), log_url=None, label=None, ignore=(), output=config, most=1000)
    model = load(config, {}).model[0]
    done = replay(model, file)

    assert model.field_mapping().label == f"{before}label"  # type: ignore[union-attr]
    rows = {f"{before}{name}" for name in ("amount", "country")}
    times = {name for name in model.columns if name.endswith("source.ts_ms")}
    assert model.columns.keys() - times - {f"{before}id"} == rows
    assert bool(times) == ("after" in before)
    assert (done.events, done.labelled, done.unusable) == (200, labelled, 0), "a change of the same row is no duplicate"


def test_a_record_that_only_has_such_names_is_a_row() -> None:
    rows = [{"op": "+", "source": "web", "after": 3, "label": "a"}, {"schema": 1, "payload": 2}]

    for row in rows:
        assert unwrapped([row]) == ([row], "", False)
    assert unwrapped([]) == ([], "", False)
