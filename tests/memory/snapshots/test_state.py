"""State files: equal after a round trip, whole or absent, damage is named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state

STATE = State(
    {"G": np.arange(12.0).reshape(3, 4), "codes": np.array([1, -1], dtype=np.int32), "none": np.zeros((0, 5))},
    {"classes": ["a", "ü"], "seed": 7},
)


def test_a_state_read_back_is_the_state_written(tmp_path: Path) -> None:
    write_state(STATE, tmp_path / "a.safetensors")

    back = read_state(tmp_path / "a.safetensors")

    assert back.sha256() == STATE.sha256()
    assert back.meta == STATE.meta
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_mapped_state_outlives_its_file(tmp_path: Path) -> None:
    write_state(STATE, tmp_path / "a.safetensors")
    back = read_state(tmp_path / "a.safetensors")

    (tmp_path / "a.safetensors").unlink()

    np.testing.assert_array_equal(back.tensors["G"], STATE.tensors["G"])


@given(cut=st.integers(0, 400))
def test_a_truncated_state_is_never_read_as_a_whole_one(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.safetensors"
    write_state(STATE, path, durable=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole) - 1)])

    with pytest.raises(DamagedFile, match=str(path)):
        read_state(path)


@pytest.mark.parametrize(
    "other",
    [
        State({**STATE.tensors, "G": np.arange(12.0).reshape(4, 3)}, STATE.meta),
        State({**STATE.tensors, "G": np.arange(12.0, dtype=np.float32).reshape(3, 4)}, STATE.meta),
        State(STATE.tensors, {"classes": ["a", "b"], "seed": 7}),
        State({"G": STATE.tensors["G"]}, STATE.meta),
    ],
    ids=["shape", "dtype", "meta", "missing"],
)
def test_states_that_differ_anywhere_have_different_hashes(other: State) -> None:
    assert other.sha256() != STATE.sha256()


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    write_state(STATE, tmp_path / "a.safetensors")

    with pytest.raises(TypeError, match="'text'"):
        write_state(State({"text": np.array(["x"])}), tmp_path / "a.safetensors")
    with pytest.raises(OSError, match="gone"):
        write_state(STATE, tmp_path / "gone" / "a.safetensors")

    assert read_state(tmp_path / "a.safetensors").sha256() == STATE.sha256()
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
