"""Solving for heads."""

import numpy as np
import pytest

from thalweg.models.ridge.heads.solve import penalty, solve

GENERATOR = np.random.default_rng(0)
H, Y = GENERATOR.standard_normal((200, 12)), GENERATOR.standard_normal((200, 3))


def sums(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.asfortranarray(np.triu(H[:rows].T @ H[:rows])), np.asfortranarray(H[:rows].T @ Y[:rows])


def test_the_head_solves_the_normal_equations() -> None:
    gram, cross = sums(200)

    head = solve(gram, cross, 0.3)

    np.testing.assert_allclose((H.T @ H + 0.3 * np.eye(12)) @ head, H.T @ Y, rtol=0, atol=1e-10)


def test_the_constant_is_not_penalised() -> None:
    rows = np.hstack([H, np.ones((200, 1))])
    gram, cross = np.asfortranarray(rows.T @ rows), np.asfortranarray(rows.T @ (Y + 1e6))

    head = solve(gram, cross, 5.0, constant=12)

    np.testing.assert_allclose((rows @ head).mean(axis=0), Y.mean(axis=0) + 1e6, rtol=1e-9)


def test_nothing_is_changed_by_solving() -> None:
    gram, cross = sums(50)
    before = gram.copy(), cross.copy()

    solve(gram, cross, 0.3)

    np.testing.assert_array_equal(gram, before[0])
    np.testing.assert_array_equal(cross, before[1])


def test_sums_that_rounding_left_indefinite_are_still_solved() -> None:
    gram, cross = sums(5)
    gram[np.diag_indices(12)] -= 0.5

    assert np.isfinite(solve(gram, cross, 1e-3)).all()


def test_sums_that_are_not_finite_are_an_error_not_an_endless_loop() -> None:
    gram, cross = sums(5)
    gram[3, 3] = np.nan

    with pytest.raises(FloatingPointError, match="not finite"):
        solve(gram, cross, 1e-3)


def test_the_penalty_grows_with_the_width_of_events_and_not_with_their_number() -> None:
    def auto(width: int, rows: int) -> float:
        features = np.hstack([np.random.default_rng(0).standard_normal((rows, width)), np.ones((rows, 1))])
        return penalty("auto", np.asfortranarray(features.T @ features), width)

    assert auto(60, 500) == auto(60, 50) == 1.0
    assert auto(400, 3000) == pytest.approx(150, rel=0.05)
    assert auto(400, 300) == pytest.approx(150, rel=0.05)
    assert penalty(0.1, np.eye(3, order="F"), 2) == 0.1


def test_a_category_of_a_thousand_values_is_not_a_thousand_numbers() -> None:
    rows = np.hstack([np.eye(1000), np.ones((1000, 1))])

    assert penalty("auto", np.asfortranarray(rows.T @ rows), 1000) == 1.0
