"""A service that promotes by a test: no request is refused when its learner is killed, and a person can go back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.caller import Caller
from tests.ops.running import Service, service
from tests.samples import FEATURES
from tests.services import warm
from tests.services.processes import PATIENCE, until
from thalweg.stream.journal.promotions import BACK, FIRST, TESTED, Promotions
from thalweg.stream.log.log import Message

MORE = """
[[model]]
name = "other"
learner = "ridge"
topic = "m.events"
ready_after_events = 0
inputs.features = { shape = [4], dtype = "float32" }
[model.params]
expansion = 32
[[alias]]
name = "points"
champion = "m"
challengers = ["other"]
promotion = "auto"
"""


def send(running: Service, count: int) -> None:
    """Events that the champion, a mean per class, cannot tell apart."""
    points = np.random.default_rng(running.sent).uniform(-1, 1, (count, FEATURES)).round(3)
    records = [
        {"id": f"e{running.sent + row}", "inputs": {"features": point.tolist()}, "label": bool(point[0] * point[1] > 0)}
        for row, point in enumerate(points)
    ]
    running.log.append(running.topic, [Message(json.dumps(one).encode()) for one in records])
    running.sent += count


@pytest.mark.slow(20)
def test_while_requests_run_and_the_learner_is_killed_the_better_model_is_promoted_once_and_nothing_is_refused(
    tmp_path: Path,
) -> None:
    with service(tmp_path, learner="nearest_mean", more=MORE) as running:
        promotions = Promotions(tmp_path / "state" / ".aliases" / "points.jsonl")
        running.start()
        until("readiness", running.ready)
        send(running, 20)
        until("both to have learned", lambda: running.metric("thalweg_learned_events", model_name="other") == 20)
        killed: set[int | None] = set()

        def alias() -> Any:
            return json.loads(running.get("/v1/aliases/points")[1])

        with Caller(running, "points") as caller:
            for _ in range(3):
                send(running, 200)
                killed.add(running.kill("learner"))
                until("the next learner", lambda: running.pid("learner") not in {None, *killed} or caller.failed)
            until("the better one answers", lambda: (caller.seen and caller.seen[-1] >= 10**12) or caller.failed)

        assert not caller.failed
        assert caller.seen == sorted(caller.seen)
        first, promoted = promotions.read()
        assert (first.cause, promoted.cause, promoted.champion) == (FIRST, TESTED, "other")
        assert promoted.evidence is not None
        until("the rest to be compared", lambda: running.metric("thalweg_alias_compared_events", alias="points") or 0)
        standing = alias()
        assert (standing["champion"], standing["comparison"]["challengers"][0]["model"]) == ("other", "m")

        back = warm.run("promote", str(running.path), "--alias", "points", "--back", timeout=PATIENCE)
        assert back.returncode == 0, back.stderr
        assert "m: on " in back.stdout  # how the comparison stands
        assert "events compared with other, a loss that is" in back.stdout
        until("it answers again", lambda: alias()["champion"] == "m")
        send(running, 200)
        until("it to be held", lambda: (alias()["comparison"] or {}).get("held"))
        assert promotions.read()[-1].cause == BACK
