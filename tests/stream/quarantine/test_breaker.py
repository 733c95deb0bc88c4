"""The circuit breaker trips on a share of the newest items, and not on a few."""

from __future__ import annotations

from thalweg.stream.learn.settings import LearnSettings
from thalweg.stream.quarantine.breaker import Breaker, Window


def test_a_share_above_the_bound_trips_it_and_one_at_the_bound_does_not() -> None:
    window = Window(0.1, 1000, least_bad=10)
    window.note(900, 100)
    assert not window.tripped

    window.note(0, 1)

    assert window.tripped


def test_fewer_than_the_least_number_do_not_trip_it() -> None:
    window = Window(0.1, 1000, least_bad=10)

    window.note(0, 9)

    assert not window.tripped
    assert window.ahead(0, 1).tripped
    assert not window.tripped  # only asked


def test_what_lies_before_the_window_does_not_count() -> None:
    window = Window(0.1, 100, least_bad=2)
    window.note(50, 5)
    for _ in range(11):
        window.note(10, 0)

    assert (window.bad, window.count) == (0, 100)


def test_a_share_of_one_never_trips_it() -> None:
    window = Window(1.0, 10, least_bad=1)
    window.note(0, 1000)

    assert not window.tripped
    assert window.room(50) == 50


def test_the_room_is_what_would_not_trip_it() -> None:
    window = Window(0.1, 1000, least_bad=10)
    window.note(500, 0)

    room = window.room(100)

    assert not window.ahead(100 - room, room).tripped
    assert window.ahead(99 - room, room + 1).tripped


def test_undecodable_records_are_judged_from_a_thousand_on() -> None:
    window = Breaker(LearnSettings()).decoding
    window.note(0, 999)
    assert not window.tripped

    window.note(0, 1)

    assert window.tripped


def test_it_tells_what_it_has_counted_in_its_window() -> None:
    window = Window(0.1, 2000, least_bad=10)
    for _ in range(100):
        window.note(460, 0)

    ahead = window.ahead(240, 220)

    assert ahead.told("events could not be learned") == "220 of the newest 2,300 events could not be learned"
    assert window.ahead(210, 250).told("events could not be learned", untried=7) == (
        "250 of the newest 2,300 events could not be learned, more than 10 % (7 more were not tried)"
    )
    assert Window(0.0, 10).ahead(0, 1).told("events could not be learned") == (
        "1 of the newest 1 events could not be learned"
    )
