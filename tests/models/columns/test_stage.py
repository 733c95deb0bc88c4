"""What values become: features of every kind of column, whatever is missing, however the log is cut."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.columns.samples import COLUMNS, ORDER_FREE, events_of, texts
from thalweg.models.columns.categories import LONGEST, candidates_of
from thalweg.models.columns.merging import order_free
from thalweg.models.columns.settings import columns_of
from thalweg.models.columns.stage import FeatureStage
from thalweg.models.contract.battery.given import assert_finite, stored
from thalweg.models.contract.learner import ParamsError
from thalweg.proto.event import Batch, join
from thalweg.proto.schema import Array, InputError

WHOLE = join([events_of(COLUMNS, 20, number) for number in range(6)])


def stage_of(**columns: Any) -> FeatureStage:
    return FeatureStage(columns_of(columns))


def batch_of(**inputs: Array) -> Batch:
    count = len(next(iter(inputs.values())))
    return Batch(inputs, None, np.ones(count), np.arange(count, dtype=np.float64))


def learned(stage: FeatureStage, **inputs: Array) -> dict[str, list[float]]:
    """The features of events by name, as they were learned."""
    found = stage.learn(batch_of(**inputs)).inputs["features"]
    return dict(zip(stage.names(), found.T.tolist(), strict=True))


def features(stage: FeatureStage, **inputs: Array) -> dict[str, list[float]]:
    """The features of rows by name, under what is known now."""
    return dict(zip(stage.names(), stage.features(inputs)["features"].T.tolist(), strict=True))


# Order and batches


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12))
@pytest.mark.parametrize("table", [COLUMNS, ORDER_FREE], ids=["all kinds", "order-free"])
def test_however_the_log_is_cut_features_and_state_have_the_same_bits(table: Any, sizes: list[int]) -> None:
    whole = replace(WHOLE, inputs={name: WHOLE.inputs[name] for name in table})
    one, other = FeatureStage(columns_of(table)), FeatureStage(columns_of(table))
    parts = []
    start = 0
    for size in [*sizes, len(whole)]:
        parts.append(other.learn(whole[start : start + size]).inputs["features"])
        start += len(parts[-1])

    assert np.array_equal(one.learn(whole).inputs["features"], np.concatenate(parts))
    assert one.state().sha256() == other.state().sha256()


def test_an_event_is_learned_with_the_features_that_were_predicted_just_before_it() -> None:
    stage = FeatureStage(columns_of(COLUMNS))
    for event in range(len(WHOLE)):
        one = WHOLE[event : event + 1]
        asked = stage.features(one.inputs)["features"]

        assert np.array_equal(asked, stage.learn(one).inputs["features"])


def test_between_two_steps_a_whole_batch_is_learned_as_it_was_predicted() -> None:
    stage = FeatureStage(columns_of({**COLUMNS, "country": "hashed", "device": "hashed"}))
    stage.learn(WHOLE[:78])  # a step, as is the one after 97 events

    asked = stage.features(WHOLE[78:97].inputs)["features"]

    assert np.array_equal(asked, stage.learn(WHOLE[78:97]).inputs["features"])
    assert not np.array_equal(asked, stage.features(WHOLE[78:97].inputs)["features"])


def test_the_order_of_the_columns_in_the_configuration_makes_no_difference() -> None:
    one, other = FeatureStage(columns_of(COLUMNS)), FeatureStage(columns_of(dict(reversed(COLUMNS.items()))))
    one.learn(WHOLE)
    other.learn(WHOLE)

    assert other.names() == one.names()
    other.restore(stored(one.state()))
    assert np.array_equal(other.features(WHOLE.inputs)["features"], one.features(WHOLE.inputs)["features"])


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "from tests.models.columns.samples import ORDER_FREE, events_of\n"
        "from thalweg.models.columns.settings import columns_of\n"
        "from thalweg.models.columns.stage import FeatureStage\n"
        "import hashlib\n"
        "found = FeatureStage(columns_of(ORDER_FREE)).learn(events_of(ORDER_FREE)).inputs['features']\n"
        "print(hashlib.sha256(found.tobytes()).hexdigest())"
    )

    hashes = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}

    assert len(hashes) == 1


def test_another_seed_hashes_otherwise_and_is_another_identity() -> None:
    one, other = (FeatureStage(columns_of(ORDER_FREE), seed) for seed in (0, 1))
    events = events_of(ORDER_FREE)

    assert not np.array_equal(one.learn(events).inputs["features"], other.learn(events).inputs["features"])
    with pytest.raises(ValueError, match="another seed"):
        other.restore(one.state())


# Names and widths


def test_every_feature_has_a_name_of_its_own_and_a_column() -> None:
    stage = FeatureStage(columns_of(COLUMNS))
    stage.learn(WHOLE)
    names, columns = stage.names(), stage.transform.layout.columns()

    assert len(set(names)) == len(names) == len(columns) == stage.transform.specs["features"].shape[0]
    assert all(name.startswith(column) for name, column in zip(names, columns))
    assert set(columns) == set(COLUMNS)
    for name in ("amount", "amount (missing)", "country=DE", "country (other)", "country (missing)", "place[1]"):
        assert name in names
    assert "height (missing)" not in names


def test_the_width_does_not_depend_on_what_came() -> None:
    stage = FeatureStage(columns_of(COLUMNS))
    width = stage.features(WHOLE.inputs)["features"].shape[1]

    assert stage.learn(WHOLE).inputs["features"].shape[1] == width == stage.features(WHOLE.inputs)["features"].shape[1]


# Numbers


def test_numbers_are_centred_and_scaled_by_those_before_them() -> None:
    stage = stage_of(amount="numeric")
    values = np.random.default_rng(0).normal(100.0, 5.0, 2000)
    stage.learn(batch_of(amount=values))
    seen = values[: 2 * 1000]

    found = features(stage, amount=seen)["amount"]

    assert abs(np.mean(found)) < 0.05
    assert abs(np.std(found) - 1.0) < 0.05


def test_the_moments_are_those_of_all_values_that_are_not_missing() -> None:
    values = np.random.default_rng(1).normal(-3.0, 7.0, 500)
    values[::3] = np.nan
    stage = stage_of(amount={"kind": "numeric"})
    for start in range(0, 500, 37):
        stage.learn(batch_of(amount=values[start : start + 37]))
    total, mean, m2 = stage._scale._moments()

    assert total[0] == np.isfinite(values).sum()
    np.testing.assert_allclose(mean[0], np.nanmean(values), rtol=1e-12)
    np.testing.assert_allclose(m2[0] / total[0], np.nanvar(values), rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_is_missing(value: float) -> None:
    stage = stage_of(amount="numeric", height={"kind": "numeric", "missing": "impute"})
    values = np.array([1.0, 2.0, 3.0, 4.0])
    stage.learn(batch_of(amount=values, height=values))
    before = stage.state()

    found = learned(stage, amount=np.array([value]), height=np.array([value]))

    assert found == {"amount": [0.0], "height": [0.0], "amount (missing)": [1.0]}
    assert_finite(before)
    assert_finite(stage.state())


def test_a_column_that_comes_late_is_neutral_until_its_scale_is_known() -> None:
    stage = stage_of(amount="numeric", rare="numeric")
    stage.learn(batch_of(amount=np.arange(50.0), rare=np.full(50, np.nan)))

    late = learned(stage, amount=np.arange(8.0), rare=np.full(8, 1e6))
    assert late["rare"] == [0.0] * 8  # no step since it came
    stage.learn(batch_of(amount=np.arange(50.0), rare=1e6 + np.arange(50.0)))

    assert 0.5 < np.std(features(stage, rare=1e6 + np.arange(50.0))["rare"]) < 1.5


def test_an_outlier_is_clipped_and_does_not_spoil_the_scale() -> None:
    stage = stage_of(amount="numeric")
    stage.learn(batch_of(amount=np.random.default_rng(0).normal(size=1000)))

    assert learned(stage, amount=np.array([1e90]))["amount"] == [6.0]
    stage.learn(batch_of(amount=np.random.default_rng(1).normal(size=1000)))

    assert 0.3 < features(stage, amount=np.array([1.0]))["amount"][0] < 1.5


def test_numbers_that_are_not_scaled_stay_as_they_are() -> None:
    stage = stage_of(amount={"kind": "numeric", "scale": False}, member={"kind": "boolean", "scale": False})
    stage.learn(batch_of(amount=np.arange(50.0), member=np.ones(50)))

    found = features(stage, amount=np.array([12.5, np.nan]), member=np.array([1.0, 0.0]))

    assert found["amount"] == [12.5, 0.0]
    assert found["member"] == [1.0, 0.0]
    assert found["amount (missing)"] == [0.0, 1.0]


def test_a_list_of_numbers_has_a_feature_each_and_one_where_any_is_missing() -> None:
    stage = stage_of(place={"kind": "list", "length": 2, "scale": False})

    found = features(stage, place=np.array([[1.0, 2.0], [np.nan, 3.0]]))

    assert found == {"place[0]": [1.0, 0.0], "place[1]": [2.0, 3.0], "place (missing)": [0.0, 1.0]}


def test_a_time_has_cycles_and_on_request_a_trend() -> None:
    assert not any("trend" in name for name in stage_of(when="datetime").names())
    stage = stage_of(when={"kind": "datetime", "trend": True})
    day = 86_400.0
    monday = 4 * day  # 5 January 1970
    stage.learn(batch_of(when=monday + day * np.arange(100.0)))

    found = features(stage, when=np.array([monday, monday + 6 * 3600.0, monday + 3.5 * day, np.nan]))

    assert found["when (hour of day, cos)"] == pytest.approx([1.0, 0.0, -1.0, 0.0], abs=1e-6)
    assert found["when (hour of day, sin)"] == pytest.approx([0.0, 1.0, 0.0, 0.0], abs=1e-6)
    assert found["when (day of week, cos)"] == pytest.approx([1.0, np.cos(np.pi / 14), -1.0, 0.0], abs=1e-6)
    assert found["when (missing)"] == [0.0, 0.0, 0.0, 1.0]
    assert found["when (trend)"][0] < found["when (trend)"][2] < 0.0


# Categories


def test_a_category_has_its_own_feature_once_it_came_often_enough() -> None:
    stage = stage_of(country={"kind": "categorical", "max_categories": 2, "min_events": 2})

    found = learned(stage, country=texts(["DE", "FR", "DE", "DE", "FR", "PT", "", "FR", "PT", "PT"]))

    assert found == {
        "country=DE": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        "country=FR": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        "country (other)": [1, 1, 1, 0, 1, 1, 0, 0, 1, 1],
        "country (missing)": [0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
    }


def test_listed_categories_have_their_features_from_the_start() -> None:
    stage = stage_of(country={"kind": "categorical", "categories": ["FR", "São Tomé"]})

    found = features(stage, country=texts(["São Tomé", "DE", ""]))

    assert found["country=São Tomé"] == [1, 0, 0]
    assert found["country (other)"] == [0, 1, 0]
    assert found["country (missing)"] == [0, 0, 1]


def test_a_missing_category_becomes_the_most_frequent_one_as_of_the_last_step() -> None:
    stage = stage_of(country={"kind": "categorical", "missing": "impute", "min_events": 1, "max_categories": 2})

    assert learned(stage, country=texts([""]))["country (other)"] == [0]  # nothing is known yet
    stage.learn(batch_of(country=texts(["DE", "FR", "FR", "FR", "FR"] * 3)))

    assert features(stage, country=texts([""]))["country=FR"] == [1]


def test_ten_million_categories_take_no_more_room_than_the_bound() -> None:
    stage = stage_of(user={"kind": "categorical", "max_categories": 16})
    span = stage.transform.layout.categorical[0]
    sizes = []
    for number in range(4):
        names = [f"{number}-{event}" for event in range(2 * candidates_of(span))]
        stage.learn(batch_of(user=texts([*names, *["frequent"] * 5])))
        sizes.append(stage.state().size_bytes)

    assert len(stage._categories[0]._waiting) <= candidates_of(span)
    assert sizes[-1] <= (16 + candidates_of(span)) * (LONGEST + 8) + 200
    assert features(stage, user=texts(["frequent"]))["user=frequent"] == [1]


def test_a_category_of_a_megabyte_is_held_in_a_few_bytes_and_told_apart() -> None:
    stage = stage_of(user={"kind": "categorical", "min_events": 1, "max_categories": 2})
    long, other = "x" * 1_000_000 + "1", "x" * 1_000_000 + "2"

    stage.learn(batch_of(user=texts([long, "short"])))

    assert stage.state().size_bytes < 500
    assert stage.features({"user": texts([long, other, "short"])})["features"].argmax(axis=1).tolist() == [0, 2, 1]
    assert learned(stage, user=texts([long]))["user (other)"] == [0]


def test_a_category_of_bytes_that_are_no_text_is_one_like_any_other() -> None:
    stage = stage_of(user={"kind": "categorical", "min_events": 1})
    column = np.empty(2, dtype=object)
    column[:] = [b"\xff\xfe", b"\xff\xfe"]

    stage.learn(batch_of(user=column))

    assert stage.features({"user": column[:1]})["features"][0, 0] == 1.0
    restored = stage_of(user={"kind": "categorical", "min_events": 1})
    restored.restore(stored(stage.state()))
    assert restored.state().sha256() == stage.state().sha256()


# Hashed, texts, lists


def test_a_hashed_value_has_one_bucket_and_always_the_same() -> None:
    stage = stage_of(user={"kind": "hashed", "buckets": 32})

    rows = stage.features({"user": texts([f"u{number}" for number in range(500)] + ["u7", ""])})["features"]

    assert (np.abs(rows[:500, :32]).sum(axis=1) == 1).all()
    assert np.array_equal(rows[7], rows[500])
    assert rows[501].tolist() == [0.0] * 32 + [1.0]
    filled = np.abs(rows[:500, :32]).sum(axis=0)
    assert filled.min() > 0
    assert filled.max() < 60  # 16 each, were they spread evenly
    assert {-1.0, 1.0} < set(rows[:, :32].ravel().tolist())


def test_equal_values_of_two_columns_have_buckets_of_their_own() -> None:
    stage = stage_of(one={"kind": "hashed", "buckets": 1000}, two={"kind": "hashed", "buckets": 1000})

    rows = stage.features({"one": texts(["a", "b", "c"]), "two": texts(["a", "b", "c"])})["features"]

    assert not np.array_equal(rows[:, :1000], rows[:, 1001:2001])


def test_a_text_is_its_words_and_runs_of_words_whatever_their_case() -> None:
    stage = stage_of(comment={"kind": "text", "buckets": 4096, "ngrams": 2})

    rows = stage.features({"comment": texts(["Good café!", "good CAFÉ", "café good", "", "!?"])})["features"]

    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])  # another run of two words
    assert np.count_nonzero(rows[0]) == 3
    assert np.square(rows[:3, :-1]).sum(axis=1) == pytest.approx([1.0] * 3)
    assert rows[3].nonzero()[0].tolist() == [4096]
    assert not rows[4].any()  # there is a text, without a word


def test_a_list_of_texts_is_a_bag_and_what_is_no_list_is_missing() -> None:
    stage = stage_of(tags={"kind": "list", "buckets": 512})
    given = ['["a", "b"]', '["b", "a"]', '["a"]', "", "a", '{"a": 1}', "[]", "[" * 100_000, "[7]"]

    rows = stage.features({"tags": texts(given)})["features"]

    assert np.array_equal(rows[0], rows[1])
    assert np.count_nonzero(rows[2]) == np.count_nonzero(rows[8]) == 1
    assert rows[:, 512].tolist() == [0, 0, 0, 1, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("kind", ["categorical", "hashed", "text"])
def test_texts_that_are_not_bytes_are_refused_by_name(kind: str) -> None:
    column = np.empty(1, dtype=object)
    column[0] = "DE"

    with pytest.raises(InputError, match="input 'country': expected UTF-8 bytes"):
        stage_of(country=kind).features({"country": column})


# Bad inputs


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({}, "all missing"),
        ({"amount": np.zeros(2), "other": np.zeros(2)}, "input 'other': unknown; expected 'amount', 'country'"),
        ({"amount": np.zeros((2, 1))}, r"input 'amount': expected \(N,\), got \(2, 1\)"),
        ({"amount": np.zeros(2, np.float32)}, "input 'amount': expected float64, got float32"),
        ({"country": np.zeros(2)}, "input 'country': expected UTF-8 bytes as objects, got float64"),
        ({"amount": np.zeros(3), "country": texts(["a"])}, "input 'country': expected 3 rows .*, got 1"),
    ],
)
def test_invalid_columns_are_refused_by_name(inputs: dict[str, Array], named: str) -> None:
    stage = stage_of(amount="numeric", country="categorical")
    before = stage.state().sha256()

    for take in (stage.features, lambda inputs: stage.learn(Batch(inputs, None, np.ones(2), np.ones(2)))):
        with pytest.raises(InputError, match=named):
            take(inputs)
    assert stage.state().sha256() == before


def test_a_stage_without_columns_is_refused() -> None:
    with pytest.raises(ParamsError, match="at least one column"):
        FeatureStage({})


def test_columns_that_depend_on_no_other_event_are_those_said() -> None:
    assert all(order_free(one) for one in columns_of(ORDER_FREE).values())
    assert {name for name, one in columns_of(COLUMNS).items() if order_free(one)} == {"user", "comment", "tags"}
    stage = FeatureStage(columns_of(ORDER_FREE))
    before = stage.features(events_of(ORDER_FREE).inputs)["features"]

    stage.learn(events_of(ORDER_FREE, 100, 3))

    assert np.array_equal(stage.features(events_of(ORDER_FREE).inputs)["features"], before)
