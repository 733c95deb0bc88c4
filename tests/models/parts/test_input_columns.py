"""Named inputs, checked and laid side by side."""

import numpy as np
import pytest

from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.input_columns import InputColumns, usable_rows
from thalweg.proto.schema import InputError, TensorSpec

PICTURE = TensorSpec("picture", "float32", (2, 3))
COUNT = TensorSpec("count", "int64", ())


def test_several_inputs_stand_side_by_side() -> None:
    columns = InputColumns({"picture": PICTURE, "count": COUNT})

    out = columns.gather({"count": np.arange(4), "picture": np.ones((4, 2, 3), np.float32)})

    assert columns.width == 7
    np.testing.assert_array_equal(out, np.hstack([np.ones((4, 6)), np.arange(4)[:, None]]))


def test_a_single_flat_input_is_not_copied() -> None:
    x = np.ones((4, 3), np.float32)

    assert InputColumns({"x": TensorSpec("x", "float32", (3,))}).gather({"x": x}) is x


def test_a_refusal_says_what_was_expected_and_what_came() -> None:
    columns = InputColumns({"picture": PICTURE, "count": COUNT})
    picture, count = np.ones((4, 2, 3), np.float32), np.arange(4)

    with pytest.raises(InputError, match=r"'picture': expected \(N, 2, 3\), got \(4, 6\)"):
        columns.gather({"picture": picture.reshape(4, 6), "count": count})
    with pytest.raises(InputError, match="'count': expected int64, got float64"):
        columns.gather({"picture": picture, "count": count.astype(float)})
    with pytest.raises(InputError, match=r"'count': missing; expected \(N\) int64"):
        columns.gather({"picture": picture})
    with pytest.raises(InputError, match="'other': unknown; expected 'picture', 'count'"):
        columns.gather({"picture": picture, "other": count})
    with pytest.raises(InputError, match=r"differ in their number of rows: .*'picture': 4, 'count': 3"):
        columns.gather({"picture": picture, "count": count[:3]})


def test_inputs_that_cannot_be_learned_from_are_refused_all_at_once() -> None:
    with pytest.raises(ParamsError) as error:
        InputColumns({"a": TensorSpec("a", "bytes", ()), "b": TensorSpec("b", "float32", (-1,)), "c": COUNT})

    assert set(error.value.mistakes) == {"inputs.a", "inputs.b"}
    with pytest.raises(ParamsError, match="at least one"):
        InputColumns({})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_cannot_be_summed_are_found(dtype: type) -> None:
    x = np.ones((6, 3), dtype)
    assert usable_rows(x) is None

    x[1, 2], x[3, 0], x[4, 1] = np.nan, np.inf, -np.inf
    wanted = [True, False, True, False, False, True]
    if dtype is np.float64:
        x[5, 0], wanted[5] = 1e200, False

    np.testing.assert_array_equal(usable_rows(x), wanted)


def test_large_numbers_whose_squares_overflow_the_quick_look_are_still_usable() -> None:
    assert usable_rows(np.full((4, 2), 1e30, np.float32)) is None
    assert usable_rows(np.full((4, 2), 1e99)) is None
