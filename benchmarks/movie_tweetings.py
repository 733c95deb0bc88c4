"""The stream of MovieTweetings for recommenders, how they are followed over it, and how they are graded."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import gzip  # noqa: E402 - the environment comes first
import json  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from itertools import islice  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.streams import SHARED  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.error_memory.learner import ErrorMemory  # noqa: E402
from thalweg.models.error_memory.predictor import ErrorMemoryPredictor, Known  # noqa: E402
from thalweg.models.error_memory.views import CONSTANTS  # noqa: E402
from thalweg.proto.event import Batch, NumberLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

Floats = NDArray[np.float64]
EVENTS = 80_000
GRADED_FROM = 0.6
"""Share of the stream that warms everything up."""
INPUTS = {
    "user": TensorSpec("user", "int64", ()),
    "item": TensorSpec("item", "int64", ()),
    "fields": TensorSpec("fields", "int64", (5,)),
}


@dataclass(frozen=True)
class Stream:
    """Ids (N, 7) int64: user, item, three genres, years in threes, hour; labels (N,), times (N,)."""

    ids: NDArray[np.int64]
    labels: Floats
    times: Floats

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, part: slice) -> Batch:
        ids = self.ids[part]
        inputs = {"user": ids[:, 0], "item": ids[:, 1], "fields": ids[:, 2:]}
        return Batch(inputs, NumberLabels(self.labels[part, None]), np.ones(len(ids)), self.times[part])


def movie_tweetings(events: int = EVENTS) -> Stream:
    """Who rated what, liked (8 of 10 or more) or not; the first so many."""
    path = SHARED / "data" / "recsys" / "movietweetings_first80k.jsonl.gz"
    genres: dict[str, int] = {}
    rows, labels, times = [], [], []
    with gzip.open(path, "rt") as lines:
        for line in islice(lines, events):
            event = json.loads(line)
            three = [1 + genres.setdefault(name, len(genres)) for name in event["genres"][:3]]
            year = ((event["year"] or 2000) - 1920) // 3
            user, item = int(event["user_id"][1:]), int(event["item_id"][2:])
            rows.append([user, item, *three, *[0] * (3 - len(three)), year, event["hour"]])
            labels.append(event["label"])
            times.append(event["ts"])
    return Stream(np.array(rows, np.int64), np.array(labels, float), np.array(times, float))


class Followed(NamedTuple):
    """What was predicted of each event before it was learned, (N,)."""

    scores: Floats
    bases: Floats
    """Scores of the network."""
    held: Floats
    """Scores whose constants of a user are those of the user's first graded event."""


def followed(stream: Stream, seed: int = 0, step: int = 1, *, hold: bool = False, **params: Any) -> Followed:
    """Predict and learn a stream, `step` events at a time; `held` is left empty unless asked for."""
    answers = _nothing(stream)
    _follow(_new(seed, params), stream, range(0, len(stream), step), answers, hold)
    return answers


def followed_apart(worlds: Sequence[Stream], at: int, seed: int, step: int, **params: Any) -> list[Followed]:
    """As `followed` for several streams that are equal up to event `at`: what they share is followed once."""
    cut, shared = at // step * step, _nothing(worlds[0])
    learner = _new(seed, params)
    _follow(learner, worlds[0], range(0, cut, step), shared, hold=False)
    state, found = learner.state(), []
    learners = [_new(seed, params) for _ in worlds]
    for each in learners:
        each.restore(state)
    for each, world in zip(learners, worlds):
        answers = Followed(*(column.copy() for column in shared))
        _follow(each, world, range(cut, len(world), step), answers, hold=False)
        found.append(answers)
    return found


def _new(seed: int, params: dict[str, Any]) -> ErrorMemory:
    return ErrorMemory(LearnerContext(inputs=INPUTS, params=params, seed=seed))


def _nothing(stream: Stream) -> Followed:
    return Followed(*(np.full(len(stream), np.nan) for _ in range(3)))


def _follow(learner: ErrorMemory, stream: Stream, starts: range, answers: Followed, hold: bool) -> None:
    constants: dict[int, Floats] = {}
    for start in starts:
        part = slice(start, start + starts.step)
        batch = stream.batch(part)
        predictor = learner.predictor()
        known = predictor.known(stream.ids[part], np.zeros((len(batch.times), 0), np.float32))
        answers.scores[part], answers.bases[part] = predictor.corrected(known), known.base
        if hold and start + starts.step > round(GRADED_FROM * len(stream)):
            answers.held[part] = _with_constants_held(predictor, known, stream.ids[part, 0], constants)
        learner.learn(batch)


def _with_constants_held(
    predictor: ErrorMemoryPredictor, known: Known, users: NDArray[np.int64], constants: dict[int, Floats]
) -> Floats:
    """Scores as if what a view says of a user alone stood still: the view by user is the first one."""
    assert known.recalled is not None
    recalled, columns = known.recalled, 2 + np.array(CONSTANTS)
    both = np.stack([recalled.features, recalled.unturned])
    for row, user in enumerate(users.tolist()):
        both[:, row, columns] = constants.setdefault(user, both[:, row, columns])
    return predictor.mixed(predictor.answers(recalled._replace(features=both[0], unturned=both[1])))


def auc(scores: Floats, labels: Floats) -> float:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    yes = int(labels.sum())
    return float((rank[labels == 1].sum() - yes * (yes + 1) / 2) / (yes * (len(labels) - yes)))


def log_loss(scores: Floats, labels: Floats) -> float:
    held = scores.clip(1e-6, 1 - 1e-6)
    return float(-np.mean(labels * np.log(held) + (1 - labels) * np.log(1 - held)))


def grouped_auc(scores: Floats, labels: Floats, users: NDArray[np.int64]) -> float:
    """AUC per user, weighted by events, users of one class left out."""
    total = weight = 0.0
    order = np.argsort(users, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        if 0 < labels[rows].sum() < len(rows):
            total += len(rows) * auc(scores[rows], labels[rows])
            weight += len(rows)
    return total / weight
