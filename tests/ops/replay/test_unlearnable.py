"""Events that a learner or its encoder cannot take: replay leaves them out, as a service does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.replay.raising import BAD
from thalweg.ops.config.config import parse
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.notebook.evaluation import evaluated
from thalweg.ops.replay.replay import Replayed, replay
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.failed import Failed
from thalweg.proto.event import Batch, ClassLabels

ENCODED: dict[str, Any] = {
    "learner": "ridge",
    "inputs": {"features": {"shape": [2]}},
    "params": {"expansion": 8},
    "encoder": "tests.ops.replay.raising:of_large_numbers",
}


def model(**more: Any) -> ModelConfig:
    return parse({"model": [{"name": "m", "topic": "t", **ENCODED, **more}]}, "f", {}).model[0]


def lines(bad: set[int], count: int = 240, large: float = BAD) -> list[str]:
    random = np.random.default_rng(0)
    return [
        json.dumps(
            {"inputs": {"features": [large if number in bad else one, two]}, "label": "up" if one > 0 else "down"}
        )
        for number, (one, two) in enumerate(random.normal(size=(count, 2)).tolist())
    ]


def replayed(folder: Path, rows: list[str], told: list[str] | None = None, **more: Any) -> Replayed:
    (folder / "a.jsonl").write_text("\n".join(rows))
    delay = more.pop("delay_events", 0)
    notice = (lambda text: None) if told is None else told.append
    return replay(model(**more), folder / "a.jsonl", delay_events=delay, notice=notice)


BADS = {3, 100, 101, 205, 239}


@pytest.mark.parametrize("more", [{"batch_events": 1}, {"batch_events": 16}, {"batch_events": 1, "delay_events": 30}])
def test_the_stream_is_learned_as_if_without_the_events_that_raise(more: dict[str, Any], tmp_path: Path) -> None:
    rows, told = lines(BADS), list[str]()

    with_bad = replayed(tmp_path, rows, told, **more)
    clean = replayed(tmp_path, [row for number, row in enumerate(rows) if number not in BADS], **more)

    assert with_bad.report()["state_sha256"] == clean.report()["state_sha256"]
    assert with_bad.evaluation.metrics() == pytest.approx(clean.evaluation.metrics())
    assert (with_bad.events, with_bad.report()["rejected"]) == (235, {"learner_error": 5})
    assert [(one.row, one.reason) for one in with_bad.rejected] == [(n + 1, "learner_error") for n in sorted(BADS)]
    assert "too large for me" in with_bad.rejected[0].detail
    (said,) = [text for text in told if "cannot be learned" in text]
    assert "too large for me" in said


def test_more_of_them_than_a_service_lets_pass_stop_the_replay(tmp_path: Path) -> None:
    rows = lines(set(range(0, 240, 20)))

    assert replayed(tmp_path, rows).reasons == {"learner_error": 12}
    with pytest.raises(Failed, match=r"circuit breaker .*\(quarantine_share\): .*more than 3 %.*too large for me"):
        replayed(tmp_path, rows, quarantine_share=0.03)


def test_an_estimator_that_changes_before_it_raises_is_as_if_it_had_never_seen_the_event(tmp_path: Path) -> None:
    river: dict[str, Any] = {
        "learner": "river:tests.models.adapters.pipelines.Superstitious",
        "inputs": {"features": {"shape": [2]}},
        "params": {},
        "encoder": "identity",
    }
    rows = lines({40, 41, 200}, large=13.0)

    with_bad = replayed(tmp_path, rows, batch_events=1, **river)
    clean = replayed(tmp_path, [row for row in rows if "[13.0" not in row], batch_events=1, **river)

    assert with_bad.report()["state_sha256"] == clean.report()["state_sha256"]
    assert [one.row for one in with_bad.rejected] == [41, 42, 201]
    assert "not that one" in with_bad.rejected[0].detail


def test_rows_of_a_table_are_left_out_by_their_number() -> None:
    features = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    labels = ClassLabels((features[:, 0] > 0).astype(np.int32), ("down", "up"))
    features[[7, 20], 0] = BAD
    batch = Batch({"features": features}, labels, np.ones(50), np.zeros(50))

    done = evaluated(model(), new_learner(model()), batch, None, 0).replayed

    assert (done.events, [one.row for one in done.rejected]) == (48, [8, 21])
