"""A model that drops most of its events as duplicates is told, with an example."""

from __future__ import annotations

from pathlib import Path

from tests.ops.run.test_successors import _live_folders as _live_folders
from tests.ops.run.test_successors import configuration, learning
from tests.samples import events
from tests.services.processes import until
from thalweg.ops.cli.produce import messages
from thalweg.stream.health.registry import Condition
from thalweg.stream.health.repeats import RecentRepeats
from thalweg.stream.health.skips import LEAST_EVENTS, WINDOW_EVENTS
from thalweg.stream.log.in_memory import InMemoryLog


def test_it_is_told_from_half_of_the_newest_events_on_and_ends_with_new_ones() -> None:
    repeats = RecentRepeats()

    assert repeats.told() == ""
    repeats.note(0, LEAST_EVENTS - 1, "id 'a'")
    assert repeats.told() == ""
    repeats.note(LEAST_EVENTS, 0, "")
    assert repeats.told() == ""
    repeats.note(0, 1, "id 'b'")
    assert repeats.told().startswith("it drops 50 % of the newest 40 events as duplicates")
    assert "the newest has id 'b'" in repeats.told()
    repeats.note(WINDOW_EVENTS, 0, "")
    assert repeats.told() == ""


def test_events_that_are_appended_again_show_in_the_health_until_new_ones_come(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(40), 1))
    with learning(configuration(tmp_path), log) as registry:

        def learner(state: Condition) -> str:
            found = [one for one in registry.report() if (one.component, one.state) == ("learner", state)]
            return found[0].reason or state.value if found else ""

        until("it to run", lambda: learner(Condition.RUNNING))
        log.append("t", messages(events(40), 1))

        reason = until("it to be told", lambda: learner(Condition.DEGRADED))

        assert reason == (
            "it drops 50 % of the newest 80 events as duplicates, by ids that came before; the newest has id 'e39' (t, "
            "partition 0, offset 79): they were appended again, or `id` of [model.fields] names what several events "
            "share"
        )
        log.append("t", messages(events(200)[40:], 1))
        until("it to be well again", lambda: learner(Condition.RUNNING))
