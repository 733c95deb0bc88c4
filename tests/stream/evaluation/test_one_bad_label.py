"""One bad label, score or answer takes no figure away, and changes none but by its own share: of each task, over all
events and recently, of the model and of its controls, on the page's main figure and in continual evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.nearest_mean import NearestMean
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec
from thalweg.proto.task import BUILT_IN
from thalweg.stream.evaluation.continual import Continual
from thalweg.stream.evaluation.controls.controls import Controls
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.evaluation.tasks import GRADINGS, grading_of

EVENTS, WINDOW = 2000, 400
_RNG = np.random.default_rng
TASKS = {name: replace(one, probabilities=one.label == "class") for name, one in BUILT_IN.items()}
Spoil = Callable[[Any, dict[str, Any], int], None]


def by(task: str, classes: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(task=TASKS[task], classes=classes, properties={})


def class_stream(classes: int, seed: int = 0) -> tuple[list[str], dict[str, Any]]:
    rng = _RNG(seed)
    label = rng.integers(0, classes, EVENTS)
    logits = rng.normal(size=(EVENTS, classes)) + 2.0 * np.eye(classes)[label]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [f"class {one}" for one in label], {"label": scores.argmax(axis=1), "scores": scores}


def number_stream(seed: int = 0) -> tuple[list[float], dict[str, Any]]:
    rng = _RNG(seed)
    label = 20 + 5 * rng.standard_normal(EVENTS)
    return label.tolist(), {"value": (label + rng.standard_normal(EVENTS))[:, None]}


def score_stream(seed: int = 0) -> tuple[list[float], dict[str, Any]]:
    rng = _RNG(seed)
    score = rng.random(EVENTS)
    return (rng.random(EVENTS) < score).astype(float).tolist(), {"score": score}


def sequence_stream(seed: int = 0) -> tuple[list[str], dict[str, Any]]:
    labels, found = class_stream(3, seed)
    rng, times = _RNG(seed), np.arange(EVENTS, dtype=float)
    found |= {"next_type": found.pop("label"), "type_scores": found.pop("scores")}
    found |= {"next_time": times + rng.random(EVENTS), "last_time": times - 1.0}
    return labels, found | {"log_likelihood": -rng.exponential(1, EVENTS), "hazard": rng.exponential(1, EVENTS)}


STREAMS: Mapping[str, Callable[[], tuple[list[Any], dict[str, Any]]]] = {
    "classification": lambda: class_stream(2),
    "adaptation": lambda: class_stream(3),
    "regression": number_stream,
    "scoring": score_stream,
    "sequence": sequence_stream,
}


def label_of(value: Any) -> Spoil:
    def spoil(labels: Any, outputs: dict[str, Any], at: int) -> None:
        labels[at] = value

    return spoil


def output_of(name: str, value: float) -> Spoil:
    def spoil(labels: Any, outputs: dict[str, Any], at: int) -> None:
        outputs[name][at] = value

    return spoil


BAD: Mapping[str, list[Spoil]] = {
    "classification": [
        *(label_of("clas 1"), label_of(""), output_of("label", -1)),
        *(output_of("scores", bad) for bad in (math.nan, math.inf, -1e300)),
    ],
    "adaptation": [label_of("clas 1"), *(output_of("scores", bad) for bad in (math.nan, math.inf, -1e300))],
    "regression": [
        *(label_of(bad) for bad in (1e99, -1e30, 1e12, math.nan)),
        *(output_of("value", bad) for bad in (math.nan, math.inf, -1e300, 1e30)),
    ],
    "scoring": [
        *(label_of(bad) for bad in (1e99, -1.0, math.nan, 0.5)),
        *(output_of("score", bad) for bad in (math.nan, math.inf, -1e300)),
    ],
    "sequence": [
        label_of("clas 1"),
        *(output_of("log_likelihood", bad) for bad in (math.nan, -math.inf, -1e30, -1e300)),
        *(output_of(name, bad) for name in ("next_time", "hazard") for bad in (math.nan, math.inf, 1e30, -1e300)),
    ],
}
CASES = [(task, number, at) for task in BAD for number in range(len(BAD[task])) for at in (0, 1, 1000, EVENTS - 1)]


def everything(task: str, labels: list[Any], outputs: Mapping[str, Any], cut: int = 50) -> dict[str, float]:
    """All figures, by where they stand."""
    live, controls = Prequential(WINDOW, TASKS[task]), Controls(grading_of(TASKS[task]), WINDOW, 0)
    classes = tuple(sorted({one for one in labels if isinstance(one, str) and one.startswith("class ")}))
    names = tuple(dict.fromkeys(one for one in labels if isinstance(one, str)))
    for start in range(0, len(labels), cut):
        part = slice(start, start + cut)
        truth: ClassLabels | NumberLabels = (
            NumberLabels(np.array(labels[part])[:, None])
            if not names
            else ClassLabels(np.array([names.index(one) for one in labels[part]], np.int32), names)
        )
        count = len(labels[part])
        batch = Batch({}, truth, np.ones(count), start + np.arange(count, dtype=float))
        live.predicted(batch, by(task, classes), {name: one[part] for name, one in outputs.items()}, start + 1)
        controls.graded(live, batch, (count,))
    found = {f"all {name}": value for name, value in live.metrics().items()}
    found |= {f"recent {name}": value for name, value in live.recent().items()}
    since = live.figures_of_events(EVENTS - WINDOW // 2, EVENTS + 1)[0]
    found |= {f"newest {name}": value for name, (value, _) in since.items()}
    for where, figures in (("all", controls.metrics()), ("recent", controls.recent())):
        for one, of_control in figures.items():
            found |= {f"{where} {name} of {one}": value for name, value in of_control.items()}
    main = live.main()
    assert main is not None
    return found | {"main": main[1]}


CLEAN = {task: everything(task, *make()) for task, make in STREAMS.items()}


def test_every_task_is_here() -> None:
    assert {name for name in GRADINGS if name in BUILT_IN} == STREAMS.keys() == BAD.keys()
    for task in ("classification", "scoring"):
        assert {"all auc", "recent auc", "all calibration_error"} <= CLEAN[task].keys()


@pytest.mark.parametrize(("task", "number", "at"), CASES)
def test_one_bad_event_changes_no_figure_but_by_its_share(task: str, number: int, at: int) -> None:
    labels, outputs = STREAMS[task]()
    outputs = {name: one.astype(float) for name, one in outputs.items()}
    BAD[task][number](labels, outputs, at)

    found = everything(task, labels, outputs)

    assert found.keys() == CLEAN[task].keys()
    for name, value in found.items():
        events = WINDOW // 2 if name.startswith("newest") else EVENTS if name.startswith("all") else WINDOW
        largest = 80.0 if "log" in name else 1.0  # the log-loss of a class that the model does not know is 35
        share = max(0.02, largest / events)
        assert value == pytest.approx(CLEAN[task][name], rel=0.02, abs=share), name


@pytest.mark.parametrize("cut", [1, 7, 900])
def test_the_two_classes_are_found_among_mistakes_however_the_stream_is_cut(cut: int) -> None:
    labels, outputs = class_stream(2)
    for number, at in enumerate((0, 2, 500, 501, 502, 503, 1700)):
        labels[at] = f"mistake {number}"

    found, whole = (
        {
            name: value
            for name, value in everything("classification", labels, outputs, size).items()
            if " of " not in name
        }
        for size in (cut, 50)
    )

    assert found == pytest.approx(whole, abs=1e-9)
    assert found["all auc"] == pytest.approx(CLEAN["classification"]["all auc"], abs=0.01)
    assert found["all balanced_accuracy"] == pytest.approx(CLEAN["classification"]["all balanced_accuracy"], abs=0.01)


@pytest.mark.parametrize("from_event", [0, 1500])
def test_a_third_class_in_earnest_ends_the_ranking(from_event: int) -> None:
    labels, outputs = class_stream(3)
    if from_event:
        labels[:from_event] = [f"class {number % 2}" for number in range(from_event)]
    found = everything("classification", labels, outputs)
    assert not {name for name in found if "auc" in name}
    assert found["all balanced_accuracy"] < 0.9


def test_a_class_of_few_events_counts_once_it_comes_a_fifth_time() -> None:
    labels, outputs = class_stream(2)
    labels[100:104] = ["rare"] * 4
    assert everything("classification", labels, outputs)["all balanced_accuracy"] > 0.7
    labels[104] = "rare"
    assert everything("classification", labels, outputs)["all balanced_accuracy"] < 0.7


def test_ranking_goes_on_after_a_restart_with_mistakes_before_and_after() -> None:
    labels, outputs = class_stream(2)
    labels[1], labels[1500] = "first", "second"
    names = tuple(dict.fromkeys(labels))
    through, stopped, resumed = (Prequential(WINDOW, TASKS["classification"]) for _ in range(3))
    for part in (slice(0, 900), slice(900, EVENTS)):
        truth = ClassLabels(np.array([names.index(one) for one in labels[part]], np.int32), names)
        batch = Batch({}, truth, np.ones(len(truth.codes)), np.zeros(len(truth.codes)))
        for one in (through, stopped if part.start == 0 else resumed):
            one.predicted(batch, by("classification", ("class 0", "class 1")), {n: c[part] for n, c in outputs.items()})
        if part.start == 0:
            resumed.restore(stopped.state())

    assert resumed.state().sha256() == through.state().sha256()
    assert "auc" in resumed.metrics()


def test_a_window_that_an_earlier_version_saved_is_still_ranked() -> None:
    labels, outputs = class_stream(2)
    names = tuple(dict.fromkeys(labels))
    evaluation, newer = (Prequential(WINDOW, TASKS["classification"]) for _ in range(2))
    batch = Batch({}, ClassLabels(np.array([names.index(x) for x in labels], np.int32), names), *np.ones((2, EVENTS)))
    evaluation.predicted(batch, by("classification", names), outputs)
    state = evaluation.state()
    first, second = (state.tensors[f"recent.score.{place}"] for place in (0, 1))
    tensors = {name: one for name, one in state.tensors.items() if "score." not in name}
    old = {name: value for name, value in state.meta.items() if name != "ranked"}

    newer.restore(State({**tensors, "recent.margin": second - first}, old))

    assert newer.recent() == pytest.approx(evaluation.recent())
    assert newer.metrics() == evaluation.metrics()


def test_a_mistake_is_no_class_that_continual_evaluation_misses() -> None:
    rng = _RNG(0)
    label = rng.integers(0, 2, EVENTS)
    features = (rng.normal(size=(EVENTS, 3)) + 4.0 * label[:, None]).astype(np.float32)
    found = []
    for mistake in (False, True):
        learner = NearestMean(LearnerContext(inputs={"features": TensorSpec("features", "float32", (3,))}))
        continual = Continual(learner.predictor(), events=10)
        live = Prequential(WINDOW)
        for start in range(0, EVENTS, 50):
            codes = label[start : start + 50].astype(np.int32)
            if mistake and start == 200:
                codes[7] = 2
            names = ("a", "b", "c")
            batch = Batch({"features": features[start : start + 50]}, ClassLabels(codes, names), *np.ones((2, 50)))
            predictor = learner.predictor()
            live.predicted(batch, predictor, predictor.predict(batch.inputs))
            continual.predicted(batch, predictor, live)
            if start != 200:  # the mistake is never learned: the model cannot be right in it
                learner.learn(batch)
        found.append(continual.metrics())
    assert found[1] == pytest.approx(found[0], abs=0.05)


def test_of_two_classes_among_names_that_never_came_none_is_left_out() -> None:
    """Their places among the names are not their numbers."""
    live, names = Prequential(WINDOW, TASKS["classification"]), ("no", "yes")
    truth = ClassLabels((np.arange(40) % 2).astype(np.int32), names)
    scores = _RNG(0).dirichlet(np.ones(3), 40)
    outputs = {"label": scores.argmax(axis=1), "scores": scores}

    model = by("classification", ("never", *names))
    live.predicted(Batch({}, truth, np.ones(40), np.arange(40, dtype=float)), model, outputs, 1)

    assert "auc" in live.metrics()
    assert live.left_out == 0
