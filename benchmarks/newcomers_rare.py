"""What a newcomer types first where outcomes are rare: streams that no default was chosen on, nothing set.

Log loss beside that of the constant rate, and AUC beside that of the given score: of `ridge` on columns, of
`error_memory` on users, items and the same numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

import thalweg
from benchmarks.newcomers_others import auc, log_loss
from benchmarks.report import Result, left_out
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
FORMS = ("probability", "log-odds", "percent", "not calibrated", "several columns", "four parts", "a drifting rate")
RATES = (50, 500)
_AT_ONCE = 8


def stream(form: str, one_in: int, rows: int, seed: int = 4) -> tuple[dict[str, Floats], Floats, Floats]:
    """Columns, labels and true probabilities of a stream with one outcome in so many rows."""
    random = np.random.default_rng(seed)
    base = -math.log(one_in - 1) - 0.72
    parts = random.standard_normal((rows, 4))
    odds = base + parts @ [0.8, 0.6, 0.5, 0.4]
    if form == "a drifting rate":
        odds += np.linspace(-1.0, 1.5, rows)
    true = 1.0 / (1.0 + np.exp(-odds))
    labels = (random.random(rows) < true).astype(np.float64)
    given = {"log-odds": odds, "percent": 100 * true, "not calibrated": 1.0 / (1.0 + np.exp(-1.7 * odds - 3.0))}
    if form == "four parts":
        return {f"x{number}": part for number, part in enumerate(parts.T)}, labels, true
    columns = {"score": given.get(form, true)}
    if form == "several columns":
        columns |= {name: random.standard_normal(rows) for name in "abc"}
    return columns, labels, true


def of_rare(rows: int) -> list[Result]:
    """Both learners on each form and rate."""
    found = []
    for form in FORMS:
        for one_in in RATES:
            columns, labels, true = stream(form, one_in, rows)
            name = f"{form}, one in {one_in}"
            if labels.sum() < 2:
                found.append(left_out(f"{name}: ridge, log loss", "hardly an outcome in so few rows"))
                continue
            told = {**columns, "label": np.where(labels > 0, "yes", "no")}
            report = thalweg.Model("ridge", batch_events=_AT_ONCE).evaluate(told, "label")
            simple = report.controls["majority"]["log_loss"]
            note = f"the constant rate {simple:.4g}; AUC {report.metrics.get('auc', math.nan):.4g}, "
            note += f"the true probability {auc(true, labels):.4g}"
            found.append(Result(name=f"{name}: ridge, log loss", value=report.metrics["log_loss"], unit="", note=note))
            said = _clicks(columns, labels)
            before = np.concatenate([[0.0], np.cumsum(labels)[:-1]])
            rate = log_loss((before + 0.5) / (np.arange(rows) + 1.0), labels)
            note = f"the constant rate {rate:.4g}; AUC {auc(said, labels):.4g}, the true probability "
            note += f"{auc(true, labels):.4g}"
            loss = log_loss(said, labels)
            found.append(Result(name=f"{name}: error_memory, log loss", value=loss, unit="", note=note))
    return found


def _clicks(columns: dict[str, Floats], labels: Floats) -> Floats:
    """Scores of `error_memory`, each from before its row was learned."""
    numbers, rows = np.stack(list(columns.values()), axis=1).astype(np.float32), len(labels)
    random = np.random.default_rng(5)
    ids = {"user": random.integers(0, 200, rows), "item": random.integers(0, 100, rows)}
    specs = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}
    specs["numeric"] = TensorSpec("numeric", "float32", (numbers.shape[1],))
    learner = ErrorMemory(LearnerContext(inputs=specs, params={}, seed=0))
    whole = Batch({**ids, "numeric": numbers}, NumberLabels(labels[:, None]), np.ones(rows), np.arange(float(rows)))
    said = np.zeros(rows)
    for start in range(0, rows, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        said[part] = learner.predictor().predict(whole[part].inputs)["score"]
        learner.learn(whole[part])
    return said
