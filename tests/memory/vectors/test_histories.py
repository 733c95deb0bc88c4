"""Histories of many keys: each its own latest events, whoever reads an older state keeps it, the longest silent go."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.vectors.histories import FrozenHistories, Histories, KeyedHistories, PublishedHistories, hash_key

WINDOW, KEYS = 3, 4
pushes = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=60)


def rows(histories: Histories) -> list[list[tuple[float, int]]]:
    return [
        list(zip(times[:length].tolist(), types[:length].tolist()))
        for times, types, length in zip(histories.times, histories.types, histories.lengths)
    ]


def pushed(events: list[tuple[int, int]]) -> KeyedHistories:
    made = KeyedHistories(WINDOW, KEYS)
    for moment, (key, kind) in enumerate(events):
        made.push(key, float(moment), kind)
    return made


def plain(events: list[tuple[int, int]]) -> list[list[tuple[float, int]]]:
    """What a dictionary of lists would hold, for keys 0 to 6."""
    kept: OrderedDict[int, list[tuple[float, int]]] = OrderedDict()
    for moment, (key, kind) in enumerate(events):
        kept[key] = [*kept.get(key, []), (float(moment), kind)][-WINDOW:]
        kept.move_to_end(key)
        if len(kept) > KEYS:
            kept.popitem(last=False)
    return [kept.get(key, []) for key in range(7)]


@given(events=pushes)
def test_each_key_keeps_its_latest_events_and_the_longest_silent_go(events: list[tuple[int, int]]) -> None:
    assert rows(pushed(events).read(range(7))) == plain(events)


@given(before=pushes, after=pushes, dropped=st.lists(st.integers(0, 6), max_size=3))
def test_who_reads_an_older_state_keeps_it(
    before: list[tuple[int, int]], after: list[tuple[int, int]], dropped: list[int]
) -> None:
    made = pushed(before)
    frozen = made.frozen()
    then = PublishedHistories(frozen.tensors())

    for key, kind in after:
        made.push(key, 100.0, kind)
    for key in dropped:
        if made.last(key) is not None:
            made.drop(key)

    assert rows(frozen.read(range(7))) == plain(before)
    assert rows(then.read(range(7))) == plain(before)
    assert rows(PublishedHistories(frozen.tensors()).read(range(7))) == plain(before)


@given(before=pushes, after=pushes, asked=st.booleans())
def test_restored_ones_go_on_alike(before: list[tuple[int, int]], after: list[tuple[int, int]], asked: bool) -> None:
    made, copy = pushed(before), KeyedHistories(WINDOW, KEYS)
    if asked and (quietest := made.quietest()) is not None:
        made.note_silence(quietest[0], 80.0)
    frozen: FrozenHistories = copy.frozen()
    copy.restore({name: array.copy() for name, array in made.tensors().items()})

    for one in (made, copy):
        for key, kind in after:
            one.push(key, 100.0, kind)

    assert copy.quietest() == made.quietest()
    assert copy.oldest() == made.oldest()
    for name, array in made.tensors().items():
        np.testing.assert_array_equal(copy.tensors()[name], array, err_msg=name)
    assert rows(frozen.read(range(7))) == [[]] * 7


def test_keys_take_turns_in_being_silent() -> None:
    made = pushed([(0, 1), (1, 1), (2, 1)])

    assert made.quietest() == (0, 0.0)
    made.note_silence(0, 50.0)
    assert made.quietest() == (1, 1.0)
    made.push(1, 51.0, 1)
    assert made.quietest() == (2, 2.0)
    made.note_silence(2, 52.0)
    assert made.quietest() == (0, 50.0)
    assert made.silent_until(2) == 52.0
    assert made.silent_since(2) == 2.0


def test_a_key_is_the_same_as_text_and_as_bytes_and_never_negative() -> None:
    assert hash_key("clé") == hash_key("clé".encode())
    assert all(0 <= hash_key(str(number)) < 2**63 for number in range(1000))


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_what_is_taken_back_leaves_the_events_before_it_and_what_readers_saw(kept: int) -> None:
    histories = KeyedHistories(4, 2)
    for time in range(7):
        histories.push(1, float(time), time)
    frozen = histories.frozen()

    histories.take_back(1, float(kept))
    histories.push(1, kept + 0.5, 9)

    expected = [time for time in range(3, 7) if time <= kept]
    past = histories.read([1])
    assert past.types[0, : past.lengths[0]].tolist() == [*expected, 9][-4:]
    assert frozen.read([1]).types[0].tolist() == [3, 4, 5, 6]
