"""A standby in the processes as they are: it follows, joins while a learner is missing, and goes on where that was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.ops.run.shards.test_shards import GROUP, Host, appended, configuration, counts, host, learned
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.ops.config.config import load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.shards.group import member_name
from thalweg.ops.telemetry.learners.pages import metrics_page
from thalweg.stream.health.registry import ComponentHealth, HealthRegistry
from thalweg.stream.log.log import Log

_STANDBY = 'role = "standby"\n'


def of_role(folder: Path, name: str, service: str, log_url: str = "kafka://broker:9092") -> Path:
    configuration(folder, name)
    path = folder / f"{name}.toml"
    text = path.read_text().replace("[service]\n", f"[service]\n{service}")
    path.write_text(text.replace("[[model]]", f'[log]\nurl = "{log_url}"\n[[model]]', 1))
    return path


@contextmanager
def standby(folder: Path, name: str, log: Log, service: str = _STANDBY) -> Iterator[Host]:
    config = load(of_role(folder, name, service), {})
    registry, live = HealthRegistry(), Path(config.service.state_dir) / "live"
    live.mkdir(parents=True, exist_ok=True)
    learning = Learning(config, log, InMemoryCommandQueue(), live, registry)
    learning.start()
    try:
        yield Host(config, learning, registry)
    finally:
        learning.close()


def part(one: Host, model: str) -> ComponentHealth | None:
    return next((it for it in one.registry.report() if (it.component, it.model) == ("standby", model)), None)


def follows(one: Host, number: int) -> bool:
    health = part(one, f"clicks~{number}")
    return health is not None and health.state == "running"


def test_a_standby_owns_nothing_until_a_learner_is_missing_and_then_goes_on_warm(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    appended(log, 200)
    with host(tmp_path, "first", log) as first, standby(tmp_path, "second", log) as second:
        until("all learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
        until("both followed", lambda: follows(second, 0) and follows(second, 1))
        page = metrics_page(Path(second.config.service.state_dir) / "live", "learner")
        until("told", lambda: 'thalweg_standby_behind_seconds{model_name="clicks~1"}' in page.read_text())
        assert second.owned() == set()
        appended(log, 100, 200)
        until("learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))

        with capture_logs() as logged:
            log.groups[GROUP].expel(member_name(first.config, first.config.model[0]))  # it learns on as a zombie
            until("both are the standby's", lambda: second.owned() == {0, 1})
            appended(log, 100, 300)
            until("all learned", lambda: all(learned([second], n) == c for n, c in counts(log).items()))

        warm = sorted(one["model"] for one in logged if one["event"] == "goes on warm")
        assert warm == ["clicks~0", "clicks~1"]
        assert part(second, "clicks~0") is None


def test_learners_keep_the_shards_of_others_warm_if_they_are_told_to(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    appended(log, 200)
    service = 'role = "learn"\nwarm_shards = 2\n'
    with standby(tmp_path, "first", log, service) as first, standby(tmp_path, "second", log, service) as second:
        until("one each", lambda: len(first.owned()) == len(second.owned()) == 1)
        (number,) = first.owned()
        until("all learned", lambda: all(learned([first, second], n) == c for n, c in counts(log).items()))
        until("followed", lambda: follows(second, number) and not follows(second, 1 - number))

        with capture_logs() as logged:
            log.groups[GROUP].expel(member_name(first.config, first.config.model[0]))
            until("both are the second's", lambda: second.owned() == {0, 1})
            until("warm", lambda: [one for one in logged if one["event"] == "goes on warm"])


def test_no_more_shards_are_followed_than_was_asked_for_and_that_is_told(tmp_path: Path) -> None:
    log = PartitionedLog(4)
    appended(log, 200)
    with host(tmp_path, "first", log) as first:
        until("all learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
        with standby(tmp_path, "second", log, _STANDBY + "warm_shards = 2\n") as second:
            until("told", lambda: (one := part(second, "")) is not None and one.state == "degraded")
            until("two followed", lambda: sum(follows(second, n) for n in range(4)) == 2)
            told = part(second, "")
            assert told is not None
            assert told.reason == "follows 2 of 4 shards (service.warm_shards)"


@pytest.mark.parametrize(
    ("service", "url", "expected"),
    [
        (
            _STANDBY,
            "sqlite:log.db",
            "expected kafka://… where service.role is 'standby': sqlite: has one owner for all",
        ),
        (_STANDBY + "warm_shards = -1\n", "kafka://broker:9092", "service.warm_shards"),
        (_STANDBY + "least_learners = 0\n", "kafka://broker:9092", "service.least_learners"),
    ],
)
def test_what_a_standby_cannot_do_is_refused(tmp_path: Path, service: str, url: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected.replace("(", "\\(")):
        load(of_role(tmp_path, "one", service, url), {})


def test_a_standby_without_shards_is_refused(tmp_path: Path) -> None:
    path = of_role(tmp_path, "one", _STANDBY)
    path.write_text(path.read_text().replace('[model.scale]\nanswers = "key"\n', ""))
    with pytest.raises(ConfigurationError, match="'standby' needs a model with"):
        load(path, {})
