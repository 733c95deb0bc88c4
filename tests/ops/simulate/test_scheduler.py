import pytest

from thalweg.ops.simulate.scheduler import Crash, Process, Scheduler, SimulationError


def test_tasks_take_their_turns_in_the_order_of_time() -> None:
    scheduler, one = Scheduler(0), Process("one")
    for name, after in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        scheduler.spawn(name, one, lambda: scheduler.note("turn"), after)

    scheduler.run(10)

    assert [line.split()[1] for line in scheduler.lines] == ["a", "b", "c"]
    assert scheduler.ticks() == 3.0


def test_while_a_task_waits_the_others_take_their_turns() -> None:
    scheduler, one, seen = Scheduler(0), Process("one"), list[str]()

    def waits() -> None:
        seen.append("begins")
        scheduler.sleep(5.0)
        seen.append("ends")

    scheduler.spawn("waits", one, waits)
    scheduler.spawn("other", one, lambda: seen.append("other"), 2.0)
    scheduler.run(10)

    assert seen == ["begins", "other", "ends"]
    assert scheduler.ticks() == 5.0


def test_a_wait_ends_when_another_task_makes_its_condition_true() -> None:
    scheduler, one, found = Scheduler(0), Process("one"), list[bool]()
    scheduler.spawn("waits", one, lambda: found.append(scheduler.wait(lambda: scheduler.offset > 0, 5.0)))
    scheduler.spawn("other", one, lambda: setattr(scheduler, "offset", 1.0), 2.0)
    scheduler.run(10)

    assert found == [True]
    assert scheduler.ticks() == 2.0


def test_a_process_that_is_killed_while_it_waits_does_not_go_on() -> None:
    scheduler, victim, other, seen = Scheduler(0), Process("victim"), Process("other"), list[str]()

    def waits() -> None:
        scheduler.sleep(5.0)
        seen.append("went on")

    scheduler.spawn("waits", victim, waits)
    scheduler.spawn("never", victim, lambda: seen.append("took a turn"), 3.0)
    scheduler.spawn("killer", other, lambda: scheduler.kill(victim), 2.0)
    scheduler.run(10)

    assert seen == []
    assert (victim.alive, victim.deaths) == (False, 1)


def test_a_crash_ends_all_tasks_of_its_process_and_no_other() -> None:
    scheduler, victim, other, seen = Scheduler(0), Process("victim"), Process("other"), list[str]()

    def crashes() -> None:
        raise Crash

    scheduler.spawn("crashes", victim, crashes)
    scheduler.spawn("of victim", victim, lambda: seen.append("victim"), 1.0)
    scheduler.spawn("of other", other, lambda: seen.append("other"), 1.0)
    scheduler.run(10)

    assert seen == ["other"]


def test_an_error_of_a_task_is_not_hidden() -> None:
    scheduler = Scheduler(0)

    def fails() -> None:
        raise ValueError("no")

    scheduler.spawn("fails", Process("one"), fails)
    with pytest.raises(SimulationError, match="task 'fails' failed: ValueError: no"):
        scheduler.run(1)


def test_a_clock_that_is_set_does_not_change_the_monotonic_time() -> None:
    scheduler = Scheduler(0)
    before = scheduler.clock()
    scheduler.offset = -3600.0

    assert scheduler.clock() == before - 3600.0
    assert scheduler.ticks() == 0.0
