"""The ring of entries: what lives, what goes, and what a reader sees while it is overwritten."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.services.processes import PATIENCE
from thalweg.memory.vectors.ring import Limits, Ring, capacity_for, entry_bytes
from thalweg.memory.vectors.window import Window

COLUMNS = {"key": (np.int64, ()), "time": (np.float64, ()), "vector": (np.float32, (8,))}


def rows(numbers: list[int], keys: list[int] | None = None, times: list[float] | None = None) -> dict[str, np.ndarray]:
    """Entries whose every number says which entry it is of."""
    count = np.array(numbers, dtype=np.int64)
    return {
        "key": count if keys is None else np.array(keys, dtype=np.int64),
        "time": count.astype(np.float64) if times is None else np.array(times),
        "vector": np.repeat(count[:, None], 8, axis=1).astype(np.float32),
    }


def numbers(window: Window) -> list[int]:
    return window.tensors()["vector"][:, 0].astype(int).tolist()


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 20))
def test_the_newest_entries_live(sizes: list[int], capacity: int) -> None:
    ring, model = Ring(COLUMNS, capacity), deque[int](maxlen=capacity)
    for size in sizes:
        more = list(range(ring.end, ring.end + size))
        ring.append(rows(more))
        model.extend(more)

        assert numbers(ring.window()) == list(model)
        assert ring.entries == len(model)
        assert ring.evicted == ring.end - len(model)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 4), st.integers(1, 12))
def test_a_key_keeps_its_newest_entries_only(keys: list[int], quota: int, capacity: int) -> None:
    ring = Ring(COLUMNS, capacity, Limits(per_key=quota))
    alive: list[tuple[int, int]] = []
    for number, key in enumerate(keys):
        ring.append(rows([number], [key]))
        alive.append((number, key))
        mine = [entry for entry in alive if entry[1] == key]
        if len(mine) > quota:
            alive.remove(mine[0])
        alive = [entry for entry in alive if entry[0] > number - capacity]

        assert numbers(ring.window()) == [entry[0] for entry in alive]
        assert ring.entries == len(alive)
        assert ring.evicted == number + 1 - len(alive)


def test_entries_past_their_time_go() -> None:
    ring = Ring(COLUMNS, 100, Limits(ttl_seconds=10))
    ring.append(rows([0, 1, 2, 3], times=[0, 5, 9, 11]))

    ring.append(rows([4], times=[16]))

    assert numbers(ring.window()) == [2, 3, 4]
    assert ring.evicted == 2


def test_a_window_does_not_change_while_the_writer_stays_within_the_slack() -> None:
    ring = Ring(COLUMNS, 16, Limits(per_key=2), slack=0.5)
    ring.append(rows(list(range(20)), [number % 5 for number in range(20)]))
    window = ring.window()
    before = numbers(window)

    ring.append(rows(list(range(20, 24)), [0, 0, 1, 1]))
    ring.forget(np.array([19]))

    assert numbers(window) == before
    assert window.standing(np.arange(window.first, window.end)).sum() == len(before)
    assert numbers(ring.window()) != before


def test_forgotten_entries_are_out_and_counted() -> None:
    ring = Ring(COLUMNS, 8)
    ring.append(rows([0, 1, 2, 3]))

    assert ring.forget(np.array([1, 2, 2, 17])) == 2

    assert numbers(ring.window()) == [0, 3]
    assert (ring.entries, ring.evicted) == (2, 2)


@pytest.mark.parametrize("limits", [Limits(), Limits(per_key=2), Limits(ttl_seconds=5)])
def test_a_restored_ring_goes_on_alike(limits: Limits) -> None:
    ring, again = Ring(COLUMNS, 10, limits), Ring(COLUMNS, 10, limits)
    ring.append(rows(list(range(17)), [number % 4 for number in range(17)]))
    ring.forget(np.array([15]))

    again.restore(ring.tensors())

    for each in (ring, again):
        each.append(rows(list(range(17, 24)), [number % 4 for number in range(17, 24)]))
    assert numbers(again.window()) == numbers(ring.window())
    assert (again.entries, again.evicted, again.end) == (ring.entries, ring.evicted, ring.end)


def test_readers_of_a_restored_ring_keep_what_they_had() -> None:
    ring = Ring(COLUMNS, 4)
    ring.append(rows([0, 1, 2]))
    kept = ring.tensors()
    ring.append(rows([3, 4]))
    window = ring.window()

    ring.restore(kept)
    ring.append(rows([7]))

    assert numbers(window) == [1, 2, 3, 4]
    assert numbers(ring.window()) == [0, 1, 2, 7]


def test_a_snapshot_of_another_size_is_refused() -> None:
    ring = Ring(COLUMNS, 10)
    ring.append(rows(list(range(10))))

    with pytest.raises(ValueError, match="expected a snapshot of 10 slots, got one of 11"):
        Ring(COLUMNS, 9).restore(ring.tensors())


def test_a_budget_holds_what_it_says() -> None:
    capacity = capacity_for(1 << 20, COLUMNS)

    assert Ring(COLUMNS, capacity).nbytes <= 1 << 20
    assert Ring(COLUMNS, capacity + capacity // 50).nbytes > 1 << 20
    with pytest.raises(ValueError, match=f"at least {2 * entry_bytes(COLUMNS)} bytes, room for one entry, got 20"):
        capacity_for(20, COLUMNS)


def _mixed(window: Window) -> int:
    """How many entries of a window, as a reader takes them, are not what they say; those that stand, that is."""
    seqs = np.arange(window.first, window.end)
    vectors, keys = window.take("vector", seqs), window.take("key", seqs)
    stand = window.standing(seqs)
    return int(((vectors != seqs[:, None]).any(axis=1) | (keys != seqs))[stand].sum())


def test_a_reader_never_sees_half_an_entry_while_the_writer_overwrites() -> None:
    ring = Ring(COLUMNS, 64, slack=0.1)
    ring.append(rows(list(range(64))))
    stop, windows = threading.Event(), [ring.window()]

    def write() -> None:
        while not stop.is_set():
            ring.append(rows(list(range(ring.end, ring.end + 5))))
            windows[0] = ring.window()

    writer = threading.Thread(target=write)
    writer.start()
    reads = mixed = dropped = 0
    began = time.monotonic()
    old = windows[0]
    while (seconds := time.monotonic() - began) < 1 or ((reads <= 100 or not dropped) and seconds < PATIENCE):
        for window in (windows[0], old):
            mixed += _mixed(window)
            dropped += int((~window.standing(np.arange(window.first, window.end))).sum())
            reads += 1
        old = windows[0]
    stop.set()
    writer.join()

    assert reads > 100
    assert dropped > 0, "the writer never came near: the test shows nothing"
    assert mixed == 0


def _write_for_ever(path: Path, references: multiprocessing.Queue, stop: multiprocessing.Event) -> None:
    ring = Ring(COLUMNS, 64, slack=0.1, place=path)
    ring.append(rows(list(range(64))))
    references.put(ring.window().reference())
    while not stop.is_set():
        ring.append(rows(list(range(ring.end, ring.end + 5))))
        if references.empty():
            references.put(ring.window().reference())


def test_another_process_reads_a_mapped_ring_and_never_sees_half_an_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    references, stop = context.Queue(), context.Event()
    writer = context.Process(target=_write_for_ever, args=(tmp_path / "ring-1.slots", references, stop), daemon=True)
    writer.start()
    try:
        stood = mixed = 0
        until = time.monotonic() + 1.0
        reference = references.get(timeout=PATIENCE)
        while time.monotonic() < until or not stood:
            if not references.empty():
                reference = references.get()
            window = Window.at(reference, COLUMNS)
            mixed += _mixed(window)
            stood += int(window.standing(np.arange(window.first, window.end)).sum())
    finally:
        stop.set()
        writer.join(PATIENCE)
        writer.kill()

    assert stood > 0
    assert mixed == 0


def test_a_ring_that_is_gone_is_said_so(tmp_path: Path) -> None:
    ring = Ring(COLUMNS, 4, place=tmp_path / "ring-1.slots")
    reference = ring.window().reference()
    (tmp_path / "ring-1.slots").unlink()

    with pytest.raises(FileNotFoundError, match=r"ring-1\.slots"):
        Window.at(reference, COLUMNS)


def test_a_restored_ring_in_a_file_is_a_new_file_and_readers_of_the_old_one_keep_it(tmp_path: Path) -> None:
    ring = Ring(COLUMNS, 8, place=tmp_path / "ring-1.slots")
    ring.append(rows([0, 1, 2]))
    kept = {name: array.copy() for name, array in ring.tensors().items()}
    ring.append(rows([3]))
    window = Window.at(ring.window().reference(), COLUMNS)

    ring.restore(kept)
    ring.append(rows([7]))

    assert numbers(window) == [0, 1, 2, 3]
    assert numbers(Window.at(ring.window().reference(), COLUMNS)) == [0, 1, 2, 7]
    assert {path.name for path in tmp_path.iterdir()} == {"ring-1.slots", "ring-2.slots"}


def test_files_that_a_ring_left_are_removed_but_for_the_last_one_that_was_read(tmp_path: Path) -> None:
    other = Ring(COLUMNS, 8)
    other.append(rows([0]))
    ring = Ring(COLUMNS, 8, place=tmp_path / "ring-1.slots")
    for _ in range(3):
        ring.restore(other.tensors())
        ring.append(rows([1]))

    assert {path.name for path in tmp_path.iterdir()} == {"ring-3.slots", "ring-4.slots"}


def test_numbers_of_entries_in_a_copy_of_a_window_are_their_ranks_among_the_live_ones() -> None:
    ring = Ring(COLUMNS, 5, Limits(per_key=2))
    ring.append(rows(list(range(7)), [0, 1, 1, 2, 1, 1, 3]))  # 2 … 6 are left, of which 2 has expired

    window = ring.window()

    assert numbers(window) == [3, 4, 5, 6]
    assert window.rank(np.array([0, 3, 5, 6, 7])).tolist() == [0, 0, 2, 3, 4]
