"""What the adapter of River adds to an estimator: dictionaries, classes, guards, and no copies."""

from __future__ import annotations

import sys
from subprocess import run
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.models.adapters.sample import two_classes
from tests.models.adapters.test_river import learner
from tests.stream.learn.test_quarantine import House
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.adapters import frozen, river
from thalweg.models.adapters.river_predictor import RiverPredictor
from thalweg.models.calibration.calibrated import calibrated
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.registry import UnknownLearner, find
from thalweg.proto.event import Batch, ClassLabels, Decoded, NumberLabels
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import InputError, TensorSpec
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.settings import ProcessorSettings

COLUMNS = {
    "amount": TensorSpec("amount", "float64", (), optional=True),
    "country": TensorSpec("country", "bytes", (), optional=True),
    "sizes": TensorSpec("sizes", "float64", (2,), optional=True),
}
PIPELINES = "tests.models.adapters.pipelines"


def columns(amounts: Any, countries: Any = None, classes: Any = "ab", numbers: Any = None) -> Batch:
    """Rows with an amount and a country each; NaN and an empty text are missing."""
    count = len(amounts)
    texts = np.array([b"DE"] * count if countries is None else countries, object)
    inputs = {
        "amount": np.array(amounts, np.float64),
        "country": texts,
        "sizes": np.arange(2.0 * count).reshape(count, 2),
    }
    labels: Any = ClassLabels(np.arange(count, dtype=np.int32) % len(classes), tuple(classes))
    if numbers is not None:
        labels = NumberLabels(np.array(numbers, np.float64)[:, None])
    return Batch(inputs, labels, np.ones(count), np.arange(float(count)))


def only_amounts(amounts: Any, **more: Any) -> Batch:
    batch = columns(amounts, **more)
    return Batch({"amount": batch.inputs["amount"]}, batch.labels, batch.weights, batch.times)


AMOUNT = {"amount": COLUMNS["amount"]}


# What an estimator gets


def test_an_event_is_a_dictionary_of_its_columns_without_those_that_are_missing() -> None:
    made = learner(f"{PIPELINES}.own", COLUMNS)
    batch = columns([1.5, np.nan], [b"DE", b""])

    rows, usable = made._rows.of(batch.inputs)  # type: ignore[attr-defined]

    assert rows == [
        {"amount": 1.5, "country": "DE", "sizes[0]": 0.0, "sizes[1]": 1.0},
        {"sizes[0]": 2.0, "sizes[1]": 3.0},
    ]
    assert usable is None


def test_what_is_missing_is_none_to_an_estimator_that_imputes_learned_and_published() -> None:
    made: Any = learner(f"{PIPELINES}.imputing", COLUMNS)
    batch = columns([1.5, np.nan, 3.0], [b"DE", b"", b"FR"])
    made.learn(batch)

    published: Any = find(f"river:{PIPELINES}.imputing").predictor_from(made.predictor().state())

    for one in (made, published):
        row = one._rows.of(batch.inputs)[0][1]
        assert (row["amount"], row["country"]) == (None, None)
    assert published.predict(batch.inputs)["scores"].shape == (3, 2)


def test_a_list_of_texts_is_a_list_to_the_learner_and_to_a_published_predictor() -> None:
    specs = {"tags": TensorSpec("tags", "bytes", (), optional=True)}
    context = LearnerContext(inputs=specs, columns={"tags": Column(name="tags", kind="list")})
    made: Any = find(f"river:{PIPELINES}.scaled")(context)
    tags = np.array([b'["a","b"]', b"", b"[]"], object)

    published: Any = find(f"river:{PIPELINES}.scaled").predictor_from(made.predictor().state())

    for one in (made, published):
        assert one._rows.of({"tags": tags})[0] == [{"tags": ["a", "b"]}, {}, {"tags": []}]


def test_a_prediction_is_of_the_inputs_as_they_are_also_where_the_same_mapping_came_before() -> None:
    made = learner("river.linear_model.LinearRegression", AMOUNT)
    made.learn(only_amounts([1.0, 2.0], numbers=[5.0, 9.0]))
    predictor, inputs = made.predictor(), {"amount": np.array([1.0])}
    first = predictor.predict(inputs)["value"].item()

    inputs["amount"] = np.array([2.0])
    second = predictor.predict(inputs)["value"].item()
    inputs["amount"][0] = 1.0

    assert second > first == predictor.predict(inputs)["value"].item()


def test_a_missing_column_has_no_entry_and_other_columns_are_refused_by_name() -> None:
    predictor = learner("river.naive_bayes.GaussianNB", COLUMNS).predictor()
    batch = columns([1.0, 2.0])

    assert set(predictor.predict({"amount": batch.inputs["amount"]})) == {"label", "scores"}
    with pytest.raises(InputError, match="input 'amont': unknown"):
        predictor.predict({"amont": batch.inputs["amount"]})


def test_a_pipeline_learns_from_texts_and_numbers_with_gaps() -> None:
    made = learner(f"{PIPELINES}.scaled", COLUMNS)
    draw = np.random.default_rng(0)
    for number in range(20):
        codes = np.arange(40) % 2
        amounts = draw.normal(codes, 0.3)
        amounts[draw.random(40) < 0.2] = np.nan
        countries = [b"DE" if (code ^ (draw.random() < 0.1)) else b"FR" for code in codes]
        batch = columns(amounts, countries)
        if number == 19:
            labels = made.predictor().predict(batch.inputs)["label"]
        made.learn(batch)

    assert (labels == codes).mean() > 0.85


def test_a_feature_that_no_event_had_yet_is_not_shown_to_the_estimator() -> None:
    made, silent = (learner(f"{PIPELINES}.scaled", COLUMNS) for _ in range(2))
    for one in (made, silent):
        one.learn(columns([np.nan, np.nan]))

    made.predictor().predict(columns([3.0]).inputs)  # a scaler would remember it

    assert made.state().sha256() == silent.state().sha256()


def test_a_weight_is_given_to_an_estimator_that_takes_one() -> None:
    made = learner(f"{PIPELINES}.Restless", AMOUNT)
    batch = only_amounts([1.0, 2.0, 3.0], numbers=[1, 2, 3])

    made.learn(Batch(batch.inputs, batch.labels, np.array([2.0, 0.0, 3.0]), batch.times))

    assert made.predictor().predict({"amount": np.zeros(1)})["value"].tolist() == [[5001.0]]


# Classes


def test_a_classifier_of_two_classes_gets_false_and_true_and_answers_with_their_names() -> None:
    made = learner("river.linear_model.LogisticRegression")
    for number in range(10):
        made.learn(two_classes(50, 50 * number))
    batch = two_classes(100, 9_000)
    assert isinstance(batch.labels, ClassLabels)

    predictor = made.predictor()
    answer = predictor.predict(batch.inputs)

    names = [predictor.classes[code] for code in answer["label"]]
    assert np.mean([name == batch.labels.names[code] for name, code in zip(names, batch.labels.codes)]) > 0.9
    np.testing.assert_allclose(answer["scores"].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "truth"),
    [
        (["true", "false"], "true"),
        (["1", "0"], "1"),
        (["0", "1"], "1"),
        (["ok", "fraud"], "fraud"),
        (["1", "true"], "1"),
    ],
)
def test_true_is_the_class_that_is_called_so_else_the_second_to_appear(names: list[str], truth: str) -> None:
    made = learner("river.linear_model.LogisticRegression", AMOUNT)
    for number in range(200):  # the class seen first, then both in turn
        name = names[0 if number == 0 else number % 2]
        amount = 1.0 if name == truth else -1.0
        made.learn(only_amounts([amount], classes=[name]))

    predictor = made.predictor()
    assert predictor.classes[predictor.predict({"amount": np.ones(1)})["label"][0]] == truth
    assert made._lent.estimator.weights["amount"] > 0  # type: ignore[attr-defined]


def test_events_of_a_third_class_are_skipped_and_counted_by_a_classifier_of_two() -> None:
    made = learner("river.linear_model.LogisticRegression", AMOUNT)
    made.learn(only_amounts([1.0, 2.0, 3.0, 4.0], classes="abc"))

    assert made.predictor().classes == ("a", "b")
    assert made.gauges() == {"skipped_events": 1.0, "classes": 2.0, "excess_class_events": 1.0}


# Guards


def test_an_event_with_an_infinite_or_huge_number_is_skipped_and_counted() -> None:
    made = learner("river.tree.HoeffdingTreeClassifier", AMOUNT)
    made.learn(only_amounts([1.0, np.inf, -1e30, np.nan, 2.0]))  # NaN is missing

    assert made.gauges()["skipped_events"] == 2
    assert made.state().meta["events"] == 3


def test_a_target_that_is_not_finite_or_huge_is_skipped() -> None:
    made = learner("river.linear_model.LinearRegression", AMOUNT)
    made.learn(only_amounts([1.0, 2.0, 3.0], numbers=[1.0, 1e300, np.nan]))

    assert made.state().meta["events"] == 1


def test_a_row_for_which_the_estimator_raises_or_says_nan_has_no_prediction_and_others_have() -> None:
    made = learner(f"{PIPELINES}.Choosy", AMOUNT)
    made.learn(only_amounts([1.0, 2.0]))

    answer = made.predictor().predict({"amount": np.array([1.0, 6.0, 4.0, 2.0])})

    assert answer["label"].tolist() == [0, -1, -1, 0]
    assert np.isnan(answer["scores"]).all(axis=1).tolist() == [False, True, True, False]
    np.testing.assert_allclose(answer["scores"][0], [0.5, 0.5])  # of the classes that there are


def test_an_estimator_that_raises_when_it_learns_raises() -> None:
    with pytest.raises(ValueError, match="a negative amount"):
        learner(f"{PIPELINES}.Choosy", AMOUNT).learn(only_amounts([-1.0]))


def test_events_that_make_an_estimator_raise_are_quarantined_and_the_others_learned_exactly() -> None:
    house = House()
    path = f"{PIPELINES}.Superstitious"
    inputs = {"features": TensorSpec("features", "float32", (2,))}

    processor = house.run(learner(path, inputs))  # type: ignore[arg-type]

    assert house.letters() == [(i, "learner_error", "ArithmeticError: not that one") for i in (13, 37)]
    assert processor.events_learned == 48
    alone: Any = learner(path, inputs)
    rebuilt = house.rebuilt(processor.version, lambda: alone)
    assert alone.state().meta["events"] == 48
    assert rebuilt == processor.state_sha256


def test_an_estimator_that_changes_when_it_predicts_predicts_on_a_copy() -> None:
    made = learner(f"{PIPELINES}.Restless", AMOUNT)
    made.learn(only_amounts([1.0], numbers=[1.0]))
    predictor, before = made.predictor(), made.state().sha256()

    answers = [predictor.predict({"amount": np.zeros(1)})["value"].item() for _ in range(3)]

    assert answers == [1001.0] * 3
    assert made.state().sha256() == before


# Copies


def folded(walks: list[Any], monkeypatch: pytest.MonkeyPatch, batches: int) -> Fold:
    """A fold of a tree, with evaluation, that has learned so many micro-batches; `walks` notes each walk since."""

    def new() -> Learner:
        return calibrated(learner("river.tree.HoeffdingTreeClassifier"))

    made = new()
    monitor = Monitor(made, new, frozen_after=0)
    fold = Fold(made, InMemorySnapshots(), ProcessorSettings(batch_events=8), monitor)
    walk = frozen.walk
    monkeypatch.setattr(frozen, "walk", lambda *given: walks.append(given) or walk(*given))
    fold.apply(DecodedBlock(1, 8, [Decoded(two_classes(8 * batches))], {}))
    return fold


def test_learning_and_grading_copy_the_estimator_never(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[Any] = []
    fold = folded(walks, monkeypatch, 20)

    assert fold.learned == 160
    assert not walks


def test_a_published_predictor_costs_one_walk_and_is_not_changed_by_later_learning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walks: list[Any] = []
    fold = folded(walks, monkeypatch, 3)
    predictor = fold.learner.predictor()
    before, inputs = predictor.state().sha256(), two_classes(5).inputs
    answer = predictor.predict(inputs)["scores"]

    fold.apply(DecodedBlock(2, 8, [Decoded(two_classes(80, 1000))], {}))

    assert fold.learner.predictor() is not predictor
    assert predictor.state().sha256() == before
    np.testing.assert_array_equal(predictor.predict(inputs)["scores"], answer)
    assert len(walks) == 1


# Bit by bit


@settings(max_examples=15)
@given(stop=st.integers(0, 60), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6), seed=st.integers(0, 99))
@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"{PIPELINES}.scaled", {}),
        ("river.tree.HoeffdingTreeClassifier", {"grace_period": 5, "delta": 0.5, "binary_split": True}),
    ],
)
def test_wherever_it_was_stopped_a_restored_estimator_goes_on_bit_by_bit(
    path: str, params: dict[str, Any], stop: int, sizes: list[int], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    amounts, countries = draw.normal(size=80), draw.choice(np.array([b"DE", b"FR", b"US", b""], object), 80)
    amounts[draw.random(80) < 0.2] = np.nan
    batch = columns(amounts, countries)
    going, silent = (learner(path, COLUMNS, **params) for _ in range(2))
    going.learn(batch[:stop])
    silent.learn(batch[:stop])
    restored = learner(path, COLUMNS, **params)
    restored.restore(going.state())

    for part in batch[stop:].micro_batches(sizes[0]):
        answers = [one.predictor().predict(part.inputs)["scores"] for one in (going, restored)]
        np.testing.assert_array_equal(*answers)
        for one in (going, restored, silent):
            one.learn(part)

    assert going.state().sha256() == restored.state().sha256() == silent.state().sha256()


_TREE = """
import numpy as np
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.contract.registry import find
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec
inputs = {"country": TensorSpec("country", "bytes", (), optional=True)}
params = {"grace_period": 5, "delta": 0.5, "binary_split": True}
made = find("river:river.tree.HoeffdingTreeClassifier")(LearnerContext(inputs=inputs, params=params))
codes = np.arange(200, dtype=np.int32) % 2
countries = np.array([[b"DE", b"FR"][code ^ (number % 7 == 0)] for number, code in enumerate(codes)], object)
made.learn(Batch({"country": countries}, ClassLabels(codes, ("a", "b")), np.ones(200), np.zeros(200)))
assert made._lent.estimator.n_branches
print(made.state().sha256())
"""


@pytest.mark.slow
def test_a_tree_of_texts_is_the_same_whatever_the_hash_seed_of_the_process() -> None:
    """Two categories make two splits that are equally good: the order of a set of texts must not decide."""
    found = {
        run(
            [sys.executable, "-c", _TREE],
            env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (0, 1, 2)
    }

    assert len(found) == 1


# What is refused


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "river.linear_model.LogisticRegresion",
            r"no 'LogisticRegresion'; did you mean river\.linear_model\.LogisticReg",
        ),
        ("river.liner_model.LogisticRegression", r"river has no 'liner_model'; did you mean river\.linear_model\?"),
        ("no_such_package.models.pipeline", "there is no module 'no_such_package' on the import path"),
        ("river.linear_model", "got the module river.linear_model"),
        ("LogisticRegression", "expected an import path such as package.module.Name, got 'LogisticRegression'"),
        ("river..tree", "expected an import path"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_not_there_and_the_nearest_name(path: str, message: str) -> None:
    with pytest.raises(UnknownLearner, match=message):
        find(f"river:{path}")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("with_a_lambda", r"func: cannot be stored: .*<lambda>"),
        (
            "no_estimator",
            "expected a classifier, a regressor, an anomaly detector or a clusterer of River, got builtins.int",
        ),
        ("broken", "cannot be made: RuntimeError: no connection"),
    ],
)
def test_an_estimator_that_cannot_be_a_learner_is_refused_by_name(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^river:{PIPELINES}.{path}: .*{message}|{message}"):
        learner(f"{PIPELINES}.{path}")


def test_an_estimator_that_finds_its_parts_by_address_is_refused() -> None:
    with pytest.raises(ValueError, match="AMRules cannot be restored exactly"):
        learner("river.rules.AMRules")


def test_parameters_are_checked_by_their_names_and_a_table_with_a_class_is_an_object() -> None:
    path = "river.linear_model.LogisticRegression"
    with pytest.raises(ParamsError, match="clip_gradients: no such key; did you mean clip_gradient"):
        learner(path, clip_gradients=1)
    with pytest.raises(ParamsError, match="optimizer: rate: no such key"):
        learner(path, optimizer={"class": "river.optim.Adam", "rate": 1})
    with pytest.raises(ParamsError, match="model: missing; it has no default"):
        learner("river.ensemble.BaggingClassifier")
    with pytest.raises(ParamsError, match=r"rate: no such key: .* made already"):
        learner(f"{PIPELINES}.own", rate=1)

    made = learner(path, optimizer={"class": "river.optim.Adam", "lr": 0.25})

    assert made._lent.estimator.optimizer.lr.learning_rate == 0.25  # type: ignore[attr-defined]


def test_a_part_without_a_seed_gets_one_from_the_models_seed() -> None:
    states = [learner(f"{PIPELINES}.unseeded", seed=seed).state().tensors for seed in (0, 0, 1)]

    assert all((states[0][name] == states[1][name]).all() for name in states[0])
    assert any((states[0][name] != states[2][name]).any() for name in states[0] if name.startswith("array"))


def test_an_object_at_an_import_path_is_not_changed_by_learning() -> None:
    one, other = learner(f"{PIPELINES}.own"), learner(f"{PIPELINES}.own")
    before = other.state().sha256()

    one.learn(two_classes(20))

    assert other.state().sha256() == before == learner(f"{PIPELINES}.own").state().sha256()


def test_a_published_state_names_no_class_of_a_package_that_was_not_configured() -> None:
    made = learner(f"{PIPELINES}.own")
    made.learn(two_classes(5))
    state = made.predictor().state()

    with pytest.raises(ValueError, match="does not belong to river"):
        find("river:river.tree.HoeffdingTreeClassifier").predictor_from(state)
    assert isinstance(find(f"river:{PIPELINES}.own").predictor_from(state), RiverPredictor)


# Texts


@pytest.mark.parametrize(
    "path",
    [
        "river.linear_model.LogisticRegression",
        "river.naive_bayes.GaussianNB",  # which raises from the second event on
        "river.neighbors.KNNClassifier",  # which raises when it predicts
        f"{PIPELINES}.own",
    ],
)
def test_an_estimator_that_takes_no_texts_says_which_and_what_to_do(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(river, "_TOLD", set())
    with capture_logs() as lines:
        made = learner(path, COLUMNS)
        learner(path, COLUMNS)
    said = [line["event"] for line in lines if "texts" in line["event"]]

    (told,) = said
    assert told.startswith(f"river:{path}: the estimator takes numbers, not the texts of 'country': encode them")
    if "KNN" not in path:
        with pytest.raises(ValueError, match=r"the texts of 'country'.*OneHotEncoder"):
            made.learn(columns([1.0, 2.0, 3.0, 4.0]))


def test_where_texts_are_encoded_or_are_none_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(river, "_TOLD", set())
    with capture_logs() as lines:
        learner(f"{PIPELINES}.scaled", COLUMNS).learn(columns([1.0, 2.0]))
        learner("river.tree.HoeffdingTreeClassifier", COLUMNS)
        learner("river.linear_model.LogisticRegression", AMOUNT)

    assert not [line for line in lines if "texts" in line["event"]]
