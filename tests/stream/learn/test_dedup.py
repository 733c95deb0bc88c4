"""Redeliveries are recognised within the window, and by a restored window alike."""

from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.learn.dedup import RecentIds

ids = st.lists(st.none() | st.text("abcé\n", max_size=2), max_size=30)


@given(stream=ids, window=st.integers(1, 40))
def test_an_id_is_fresh_unless_it_is_among_the_newest_ids_of_the_window(stream: list[str | None], window: int) -> None:
    newest: list[str] = []
    expected = []
    for name in stream:
        expected.append(name is None or name not in newest)
        if name is not None and name not in newest:
            newest = [*newest, name][-window:]

    fresh = RecentIds(window).fresh(stream)

    assert (fresh.tolist() if fresh is not None else [True] * len(stream)) == expected


@given(stream=ids, cut=st.integers(0, 30), window=st.integers(1, 12))
def test_a_restored_window_goes_on_as_if_never_stopped(stream: list[str | None], cut: int, window: int) -> None:
    through, first, second = RecentIds(window), RecentIds(window), RecentIds(window)
    through.fresh(stream[:cut])
    first.fresh(stream[:cut])
    second.restore(first.state())

    a, b = through.fresh(stream[cut:]), second.fresh(stream[cut:])

    assert (a is None) == (b is None)
    assert a is None or b is None or (a == b).all()
    assert through.state().sha256() == second.state().sha256()


@given(
    st.integers(0, 5), st.lists(st.lists(st.one_of(st.none(), st.sampled_from("abcdefghij")), max_size=8), max_size=6)
)
def test_ids_that_come_together_are_remembered_as_one_by_one(window: int, runs: list[list[str | None]]) -> None:
    together, alone = RecentIds(window), RecentIds(window)
    for ids in runs:
        fresh = together.fresh(ids)
        each = [alone.fresh([one]) is None for one in ids]
        assert (each == [True] * len(ids)) if fresh is None else (each == fresh.tolist())
        assert together.state().sha256() == alone.state().sha256()
