"""From the record to the first answer: spans of one trace, each below the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.stream.traces.test_context import CONTEXT
from thalweg.proto.records import Partition, Records
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.traces.awaited import MOST as MOST_AWAITED
from thalweg.stream.traces.awaited import AwaitedAnswers
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.spans import InMemorySpans
from thalweg.stream.traces.tracker import MOST, TraceTracker

NOW = 1_700_000_000.0


def info(version: int) -> VersionInfo:
    return VersionInfo(version, 1, 0.0, NOW, NOW, 1)


class Way:
    """A learner and a server, on one clock."""

    def __init__(self, live: Path) -> None:
        self.live, self.now, self.spans = live, NOW, InMemorySpans()
        self.tracker = TraceTracker("m", "kafka", live, self.spans)
        self.server = self.new_server()
        self.server.mapped(info(0))

    def new_server(self) -> AwaitedAnswers:
        return AwaitedAnswers("m", self.live, self.spans, lambda: self.now)

    def take(self, version: int, *contexts: TraceContext) -> None:
        headers = [(("traceparent", context.header.encode()),) for context in contexts]
        nothing = [None] * len(contexts)
        run = Records(
            Partition("t", 3), range(7, 7 + len(contexts)), [NOW - 2] * len(contexts), nothing, nothing, headers
        )
        self.tracker.taken(version, [run], self.now)

    def learn(self, version: int, *contexts: TraceContext) -> None:
        """One second each for learning, publishing, and being noticed."""
        self.take(version, *contexts)
        self.now += 1
        self.tracker.learned(version, 0.5, self.now)
        self.publish(version)

    def publish(self, version: int) -> None:
        self.now += 1
        self.tracker.publishing(version, self.now)
        self.tracker.published(version, self.now)
        self.now += 1
        self.server.mapped(info(version))

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans.ended]


@pytest.fixture
def way(tmp_path: Path) -> Way:
    return Way(tmp_path)


def test_a_trace_goes_from_the_append_to_the_first_answer_without_a_gap(way: Way) -> None:
    way.learn(1, CONTEXT)
    way.now += 1
    way.server.answered(1, TraceContext(5, 6, 1))

    spans = way.spans.ended
    assert way.names == ["poll t", "learn m", "publish m", "first answer m"]
    assert [span.parent for span in spans] == [CONTEXT, *(span.context for span in spans[:-1])]
    assert {span.context.trace_id for span in spans} == {CONTEXT.trace_id}
    times = [(span.began - NOW, span.ended - NOW) for span in spans]
    assert times == [(-2, 0), (0, 1), (1, 2), (2, 4)]
    assert spans[0].kind == "consumer"
    assert spans[0].attributes["messaging.kafka.offset"] == 7
    assert spans[0].attributes["messaging.destination.partition.id"] == "3"
    assert spans[3].attributes["thalweg.request.span_id"] == f"{6:016x}"


def test_an_answer_of_an_older_version_is_not_the_first(way: Way) -> None:
    way.learn(1)
    way.learn(2, CONTEXT)
    way.server.answered(1, None)
    assert way.names == ["poll t", "learn m", "publish m"]

    way.server.answered(3, None)
    way.server.answered(3, None)
    assert way.names[3:] == ["first answer m"]


def test_a_record_waits_for_the_version_that_is_published_after_it(way: Way) -> None:
    way.take(1, CONTEXT)
    way.tracker.learned(1, 0.5, way.now)
    way.take(2)
    way.tracker.learned(2, 0.5, way.now)
    way.publish(2)
    way.server.answered(2, None)

    assert way.names == ["poll t", "learn m", "publish m", "first answer m"]
    assert way.spans.ended[3].attributes["thalweg.first_version"] == 2


def test_what_could_not_be_published_is_in_the_next_version(way: Way) -> None:
    way.take(1, CONTEXT)
    way.tracker.learned(1, 0.5, way.now)
    way.tracker.publishing(1, way.now)  # and fails
    way.publish(2)
    way.server.answered(2, None)

    assert way.names == ["poll t", "learn m", "publish m", "first answer m"]


def test_a_trace_that_is_not_sampled_leaves_nothing(way: Way) -> None:
    way.learn(1, CONTEXT._replace(flags=0))
    way.server.answered(1, None)

    assert not way.spans.ended
    assert not (way.live / "traces").exists()


def test_of_many_records_a_bounded_sample_is_followed(way: Way) -> None:
    for version in range(1, 6):
        way.take(version, *[CONTEXT] * 50)

    assert way.names == ["poll t"] * MOST


def test_while_nobody_asks_the_newest_are_awaited(way: Way) -> None:
    for version in range(1, 200):
        way.learn(version, CONTEXT)

    assert len(way.server.awaited) == MOST_AWAITED
    assert way.server.awaited[-1].version == 199


def test_a_server_that_starts_later_awaits_only_what_the_version_in_use_has_new(way: Way) -> None:
    way.learn(1, CONTEXT)
    way.learn(2, CONTEXT)
    later = way.new_server()
    later.mapped(info(2))
    assert [one.version for one in later.awaited] == [2]

    later.mapped(info(3))
    assert [one.version for one in later.awaited] == [2]


def test_a_live_folder_that_cannot_be_written_ends_the_trace_and_nothing_else(tmp_path: Path) -> None:
    way = Way(tmp_path / "none")
    with capture_logs() as lines:
        way.learn(1, CONTEXT)
        way.learn(2, CONTEXT)

    assert way.names == ["poll t", "learn m", "publish m"] * 2
    assert len([line for line in lines if line["log_level"] == "warning"]) == 1
