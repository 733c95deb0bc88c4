"""A learner that skips most of its events is told, with the reason and an example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.run.test_successors import _live_folders as _live_folders
from tests.ops.run.test_successors import learning
from tests.services.processes import until
from thalweg.models.contract.registry import BUILT_IN
from thalweg.models.contract.skipping import USUAL, learns_from
from thalweg.ops.config.config import load
from thalweg.proto.event import Batch, ClassLabels, NumberLabels, Places
from thalweg.proto.records import Partition
from thalweg.stream.health.registry import Condition
from thalweg.stream.health.skips import LEAST_EVENTS, WINDOW_EVENTS, RecentSkips, example_of
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message


def told(skips: RecentSkips, events: int, skipped: int) -> str:
    return skips.told(events, {"skipped_events": float(skipped)}, None, labelled=True)


def test_it_is_told_from_half_of_the_newest_events_on_and_ends_by_itself() -> None:
    skips = RecentSkips("ridge")

    assert told(skips, LEAST_EVENTS - 1, LEAST_EVENTS - 1) == ""
    assert told(skips, 100, 49) == ""
    assert told(skips, 200, 110) == f"it skips 55 % of the newest 200 labelled events: ridge learns from {USUAL}"
    for events in range(300, 300 + 2 * WINDOW_EVENTS, 50):
        last = told(skips, events, 110)
    assert last == ""
    for more in range(0, WINDOW_EVENTS + 1, 50):  # long after the beginning
        last = told(skips, 10_000 + more, 110 + more)
    assert last.startswith("it skips 100 % of the newest 1,000 labelled events")


def test_totals_of_before_this_process_and_rollbacks_begin_the_window_anew() -> None:
    skips = RecentSkips("cotta")
    assert told(skips, 10, 900) == "", "the gauge goes on from a saved state, the count of events does not"
    assert told(skips, 110, 900) == ""
    assert told(skips, 210, 1050) == (
        "it skips 75 % of the newest 200 labelled events: cotta learns from finite inputs within their range"
    )

    assert told(skips, 100, 50) == ""
    assert told(skips, 200, 60) == ""


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (ClassLabels(np.array([0, 1, -1], np.int32), ("a", "b")), "label 'b' (t, partition 0, offset 8)"),
        (NumberLabels(np.array([[1.5], [np.nan], [4.0]])), "label 4 (t, partition 0, offset 9)"),
        (ClassLabels(np.full(3, -1, np.int32), ()), ""),
        (None, ""),
    ],
)
def test_the_newest_label_is_the_example(labels: ClassLabels | NumberLabels | None, expected: str) -> None:
    places = Places.of(Partition("t", 0), [7, 8, 9])

    assert example_of(Batch({}, labels, np.ones(3), np.zeros(3), places=places)) == expected


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_learner_says_what_it_learns_from(name: str) -> None:
    assert learns_from(name)
    assert learns_from("unheard_of") == USUAL


def test_ratings_of_one_to_five_show_in_the_health_of_an_error_memory_until_they_are_right(tmp_path: Path) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text(
        f'[service]\ngrpc = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\nstate_dir = "{tmp_path}/state"\n'
        f'[store]\nurl = "sqlite:{tmp_path}/store.db"\n[[model]]\nname = "m"\ntopic = "t"\nlearner = "error_memory"\n'
        'inputs.user = { shape = [], dtype = "int64" }\n'
        'inputs.item = { shape = [], dtype = "int64" }\nparams.memory_bytes = 1000000\n'
    )
    log = InMemoryLog()

    def rated(count: int, stars: float) -> None:
        rows = [f'{{"inputs":{{"user":{i % 9},"item":{i % 7}}},"label":{stars}}}'.encode() for i in range(count)]
        log.append("t", [Message(row) for row in rows])

    rated(90, 4)
    with learning(load(path, {}), log) as registry:

        def learner(state: Condition) -> str:
            found = [one for one in registry.report() if (one.component, one.state) == ("learner", state)]
            return found[0].reason or state.value if found else ""

        reason = until("it to be told", lambda: learner(Condition.DEGRADED))

        assert reason == (
            "it skips 100 % of the newest 90 labelled events: error_memory learns from labels from 0 (no click, not "
            "liked) to 1 and finite numbers; the newest has label 4 (t, partition 0, offset 89)"
        )
        rated(1100, 1)
        until("it to be well again", lambda: learner(Condition.RUNNING))
