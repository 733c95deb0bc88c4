import json

import pytest

from thalweg.stream.health.registry import ComponentHealth, Condition, Health, HealthRegistry, joined


class Time:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def registry(time: Time) -> HealthRegistry:
    return HealthRegistry(clock=lambda: 1000 + time(), ticks=time)


def test_a_component_is_starting_until_it_says_more(registry: HealthRegistry) -> None:
    registry.register("learner", "digits")

    (health,) = registry.report()

    assert (health.component, health.model, health.state, health.restarts) == ("learner", "digits", "starting", 0)
    assert health.well


def test_the_reason_and_the_beginning_of_a_state_are_kept(registry: HealthRegistry, time: Time) -> None:
    learner = registry.register("learner", "digits")
    time.seconds = 5
    learner.waiting("the log is out of reach")
    time.seconds = 9
    learner.waiting("the log is out\nof reach: still")

    (health,) = registry.report()

    assert (health.state, health.reason, health.since) == ("waiting", "the log is out of reach: still", 1005)
    assert not health.well


def test_a_state_without_a_reason_forgets_the_last_one(registry: HealthRegistry) -> None:
    learner = registry.register("learner", "digits")
    learner.degraded("slow")
    learner.running()

    assert registry.report()[0].reason == ""


@pytest.mark.parametrize("state", ["running", "waiting", "degraded", "starting"])
def test_a_silent_component_is_failed_whatever_it_said_last(registry: HealthRegistry, time: Time, state: str) -> None:
    learner = registry.register("learner", "digits", silent_seconds=30)
    if state == "running":
        learner.running()
    elif state != "starting":
        getattr(learner, state)("a reason")
    time.seconds = 31

    (health,) = registry.report()

    assert health.state is Condition.FAILED
    assert "no sign of life for more than 30 s" in health.reason


def test_a_beat_is_a_sign_of_life_and_changes_nothing_else(registry: HealthRegistry, time: Time) -> None:
    learner = registry.register("learner", "digits", silent_seconds=30)
    learner.waiting("the log is out of reach")
    time.seconds = 29
    learner.beat()
    time.seconds = 58

    assert registry.report()[0].state == "waiting"


def test_a_call_that_may_take_long_is_no_silence(registry: HealthRegistry, time: Time) -> None:
    learner = registry.register("learner", "digits", silent_seconds=30)
    learner.running()
    with learner.slow():
        time.seconds = 100
        assert registry.report()[0].state == "running"
    time.seconds = 131

    assert registry.report()[0].state == "failed"


def test_a_stopped_component_may_be_silent(registry: HealthRegistry, time: Time) -> None:
    registry.register("learner", "digits", silent_seconds=30).stopped()
    time.seconds = 1000

    assert registry.report()[0].state == "stopped"


def test_a_component_that_registers_again_keeps_its_restarts(registry: HealthRegistry, time: Time) -> None:
    registry.register("learner", "digits").restarting("ValueError: no")
    registry.register("learner", "digits").running()
    time.seconds = 61

    (health,) = registry.report()

    assert (health.state, health.restarts) == ("running", 1)


def test_one_that_fails_again_and_again_does_not_look_well_in_between(registry: HealthRegistry, time: Time) -> None:
    learner = registry.register("learner", "digits")
    learner.restarting("ValueError: no")
    learner.running()
    time.seconds = 59

    (health,) = registry.report()

    assert (health.state, health.reason) == ("degraded", "was restarted after ValueError: no")


def test_of_a_component_in_two_processes_the_worse_one_is_told(registry: HealthRegistry) -> None:
    here, there = Health("store", "digits"), Health("store", "digits")
    here.running()
    there.waiting("out of reach")

    (found,) = joined([here.now(), there.now()])

    assert found == there.now()
    assert joined([there.now(), here.now()]) == (found,)


def test_a_record_of_a_component_is_json_and_gives_it_back(registry: HealthRegistry) -> None:
    registry.register("learner", "digits").waiting("the log is out of reach")

    (health,) = registry.report()
    record = json.loads(json.dumps(health.record()))

    assert record["state"] == "waiting"
    assert ComponentHealth.of(record) == health


def test_components_of_several_models_are_kept_apart(registry: HealthRegistry) -> None:
    registry.register("learner", "digits").running()
    registry.register("learner", "clicks").failed("no")

    assert [(one.model, one.state) for one in registry.report()] == [("digits", "running"), ("clicks", "failed")]


def test_silent_are_those_that_should_have_been_heard_of(registry: HealthRegistry, time: Time) -> None:
    parts = {
        name: registry.register(name, silent_seconds=30) for name in ("stuck", "beats", "stopped", "ended", "slow")
    }
    registry.register("need_not_report")
    failed = registry.register("failed", silent_seconds=30)
    failed.restarting("ValueError: no")  # it is at work again, and says nothing
    parts["stopped"].stopped()
    parts["ended"].ended("made under other settings")
    with parts["slow"].slow():
        time.seconds = 31
        parts["beats"].beat()

        assert [part.component for part in registry.silent()] == ["stuck", "failed"]
        assert parts["ended"].now().reason == "made under other settings"
