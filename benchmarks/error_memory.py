"""The error memory: what it wins beyond honest controls, and what reading it costs.

Events of MovieTweetings in order: the first 60 % warm everything up, the rest is graded, each answer before its
label is learned. Labels are learned one by one as they come; networks train every 64 events in all rows.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable  # noqa: E402 - the environment comes first
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.error_memory_flip import AFTER, FLIP_AT, FLIPPED_SHARE, flip, other_turns  # noqa: E402
from benchmarks.error_memory_search import keeping, reading  # noqa: E402
from benchmarks.movie_tweetings import (  # noqa: E402
    EVENTS,
    GRADED_FROM,
    INPUTS,
    Floats,
    Followed,
    Stream,
    auc,
    followed,
    grouped_auc,
    log_loss,
    movie_tweetings,
)
from benchmarks.report import Result, at_least, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402

__all__ = ["AFTER", "EVENTS", "FLIPPED_SHARE", "FLIP_AT", "GRADED_FROM", "INPUTS", "Stream", "movie_tweetings"]
SEEDS, FLIP_SEEDS = 3, 4


def shrunk(bases: Floats, labels: Floats, share: float) -> Floats:
    """Base scores drawn towards the running mean label: the control that explains most gains of a memory."""
    running = np.concatenate([[0.5], np.cumsum(labels)[:-1] / np.arange(1, len(labels))])
    return (1 - share) * bases + share * running


def quality(stream: Stream, step: int) -> list[Result]:
    """Every row beside its controls."""
    first = round(GRADED_FROM * len(stream))
    frozen: dict[str, Any] = {"freeze_after": first}
    fixed: dict[str, Any] = {"combine": "fixed", "memory_bytes": 40_000_000}
    both = followed(stream, step=step, hold=True)
    late = followed(stream, step=64, hold=True)
    incremental = both.bases
    rows = {
        "base, frozen when grading begins": followed(stream, step=64, memory="none", **frozen).scores,
        "… with the memory as published (γ = 1, λ = 0.3, by key)": followed(stream, step=64, **frozen, **fixed).scores,
        "… with the memory, learned combination, 64 labels late": followed(stream, step=64, **frozen).scores,
        "incremental": incremental,
        "incremental, shrunk to the running rate by 0.05": shrunk(incremental, stream.labels, 0.05),
        "incremental, shrunk by 0.3": shrunk(incremental, stream.labels, 0.3),
        "incremental, memory as published": followed(stream, step=64, **fixed).scores,
        "incremental, sketch (γ = 0, λ = 0.5)": followed(
            stream, step=64, combine="fixed", memory="sketch", gamma=0.0, strength=0.5
        ).scores,
        "incremental, memory by user, item and key, 64 labels late": followed(
            stream, step=64, views="user+item+key", memory_bytes=40_000_000
        ).scores,
        "incremental, memory, 64 labels late": late.scores,
        "… with the user's constants held (64 labels late)": late.held,
        "both: incremental and memory": both.scores,
        "… with the user's constants held at the user's first graded event": both.held,
    }
    return [_graded(name, scores, stream, first) for name, scores in rows.items()] + _targets(stream, both, late, first)


def _graded(name: str, scores: Floats, stream: Stream, first: int) -> Result:
    labels, users = stream.labels[first:], stream.ids[first:, 0]
    note = f"log-loss {log_loss(scores[first:], labels):.4f}, gAUC {grouped_auc(scores[first:], labels, users):.4f}"
    return Result(name=name, value=auc(scores[first:], labels), unit="AUC", note=note)


def _targets(stream: Stream, both: Followed, late: Followed, first: int) -> list[Result]:
    labels, users = stream.labels[first:], stream.ids[first:, 0]

    def gain(scores: Floats, of: Callable[[Floats, Floats], float] = auc) -> float:
        return of(scores[first:], labels) - of(both.bases[first:], labels)

    def grouped(scores: Floats, labels: Floats) -> float:
        return grouped_auc(scores, labels, users)

    controls = (shrunk(both.bases, stream.labels, share) for share in (0.0, 0.05, 0.1))
    loss = log_loss(both.scores[first:], labels) - min(log_loss(each[first:], labels) for each in controls)
    return [
        at_least("AUC of both over incremental", gain(both.scores), "", 0.006),
        at_least("… 64 labels late", gain(late.scores), "", 0.006),
        at_most("log-loss of both, against the best shrunk control", loss, "", 0.0),
        at_least("gAUC of both over incremental, user's constants held", gain(both.held, grouped), "", 0.0),
        Result(name="… user's constants running", value=gain(both.scores, grouped), unit=""),
    ]


def constant_tastes(stream: Stream, seeds: int) -> list[Result]:
    """A made-up world of constant tastes, in which a running mean of each user's errors lowers the AUC within users.

    Users and their order are those of the stream; the label's log-odds are what is known of the event plus the user's
    taste, both standard normal. A taste is the same for all of a user's events: to know it does not change their order.
    """
    _, user = np.unique(stream.ids[:, 0], return_inverse=True)
    first, found = round(GRADED_FROM * len(stream)), []
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        taste, known = generator.standard_normal(user.max() + 1), generator.standard_normal(len(user))
        labels = (generator.random(len(user)) < _sigmoid(known + taste[user])).astype(np.float64)
        errors, counts = np.zeros(len(taste)), np.zeros(len(taste))
        running, held = np.empty(len(user)), np.empty(len(user))
        of_first: dict[int, float] = {}
        for at, (mine, base) in enumerate(zip(user.tolist(), _sigmoid(known).tolist())):
            mean = errors[mine] / (counts[mine] + 5)
            running[at] = known[at] + 4 * mean
            held[at] = known[at] + 4 * (of_first.setdefault(mine, mean) if at >= first else mean)
            errors[mine] += labels[at] - base
            counts[mine] += 1
        graded = [
            (auc(s[first:], labels[first:]), grouped_auc(s[first:], labels[first:], user[first:]))
            for s in (known, running, held)
        ]
        found.append(graded)
    base, running_mean, held_mean = np.mean(found, axis=0)
    spread = np.ptp(np.array(found), axis=0).max()
    return [
        Result(
            name="made-up constant tastes: a running mean of the user's errors, gAUC gained",
            value=running_mean[1] - base[1],
            unit="",
            note=f"gAUC {base[1]:.3f} → {running_mean[1]:.3f} ({held_mean[1]:.3f} held at the first graded event), "
            f"AUC {base[0]:.3f} → {running_mean[0]:.3f} ({held_mean[0]:.3f}); {seeds} seeds, spread ≤ {spread:.3f}",
        )
    ]


def _sigmoid(logits: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-logits))
    return found


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Quality and flip on the real stream, reading on a made-up memory; `QUICK`: 64 labels late, one seed."""
    memory = scale.of((1_000_000, 50_000), quick=(1_000_000, 50_000), tiny=(4000, 1000))
    results = reading(scale.of(9, quick=3, tiny=1), *memory) + keeping(*memory)
    if not SHARED.is_dir():
        return [*results, no_streams("MovieTweetings")]
    stream, step = movie_tweetings(scale.of(EVENTS, quick=EVENTS, tiny=3000)), scale.of(1, quick=64, tiny=64)
    seeds = scale.of(SEEDS, quick=1, tiny=1)
    return [
        *results,
        *quality(stream, step),
        *constant_tastes(stream, seeds),
        *flip(stream, scale.of(FLIP_SEEDS, quick=1, tiny=1), step),
        *other_turns(stream, seeds, 64),
    ]


if __name__ == "__main__":
    show("error_memory", run(Scale.asked()))
