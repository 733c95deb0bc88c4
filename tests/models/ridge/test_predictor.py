"""What a ridge publishes."""

import numpy as np
import pytest

from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.ridge.predictor import CHUNK, RidgePredictor
from thalweg.proto.schema import TensorSpec

COLUMNS = InputColumns({"features": TensorSpec("features", "float32", (4,))})
LAYER = FeatureMap.draw(4, 10, offsets=True, direct=True, bias=True, seed=0)
HEAD = np.random.default_rng(0).standard_normal((15, 3))
SCALE = (np.full(4, 0.5), np.full(4, 2.0), 3.0)
X = np.random.default_rng(1).standard_normal((2 * CHUNK + 5, 4)).astype(np.float32)


def predictor(classes: tuple[str, ...] | None = ("a", "b", "c")) -> RidgePredictor:
    return RidgePredictor(COLUMNS, LAYER, HEAD, classes, SCALE, 7)


def test_scores_are_features_times_head() -> None:
    z = np.clip((X[:20].astype(float) - 0.5) * 2, -3, 3)

    answer = predictor().predict({"features": X[:20]})

    np.testing.assert_allclose(answer["scores"], LAYER.features(z) @ HEAD, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(answer["label"], (LAYER.features(z) @ HEAD).argmax(axis=1))


def test_more_rows_than_are_expanded_at_a_time_get_the_same_answers() -> None:
    whole = predictor().predict({"features": X})["scores"]

    np.testing.assert_array_equal(
        whole[CHUNK : CHUNK + 3], predictor().predict({"features": X[CHUNK : CHUNK + 3]})["scores"]
    )
    assert len(whole) == len(X)


def test_numbers_beyond_float32_are_answered_in_double_precision() -> None:
    huge = RidgePredictor(COLUMNS, LAYER, HEAD * 1e300, None, SCALE, 7)

    value = huge.predict({"features": X[:5]})["value"]

    assert value.dtype == np.float64
    assert np.isfinite(value).all()
    assert (np.abs(value) > 1e290).all()


@pytest.mark.parametrize("classes", [("a", "b", "c"), None])
def test_a_predictor_comes_back_from_its_state(classes: tuple[str, ...] | None) -> None:
    first = predictor(classes)

    again = RidgePredictor.of(first.state())

    assert (again.classes, again.inputs, again.outputs) == (first.classes, first.inputs, first.outputs)
    assert again.properties == {"events_in_head": "7"}
    for name, answer in first.predict({"features": X[:9]}).items():
        np.testing.assert_array_equal(again.predict({"features": X[:9]})[name], answer)
