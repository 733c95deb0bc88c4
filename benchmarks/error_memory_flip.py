"""What an error memory wins back after tastes turn, beside an ideal observer and the network alone.

Three quarters into the stream the labels of a fifth of the items become their opposite. Whoever knows nothing of it
loses AUC; the share of that which is won back is taken between so many and so many labels later. The ideal observer is
a Bayesian who knows when it happened, how large the share of the items is, and what the network would predict had
nothing happened; only which items turned it must learn from their labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from benchmarks.movie_tweetings import EVENTS, Floats, Stream, auc, followed_apart
from benchmarks.report import Result, at_least

FLIP_AT = 0.75
"""Share of the stream."""
FLIPPED_SHARE = 0.2
AFTER = ((0, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000), (8000, 20_000))
"""Labels after the flip between which AUC is taken, of 80,000 events."""
TARGET = 85.0
"""Per cent of the observer's share."""
USER, ITEM = 0, 1


def flip_at(stream: Stream) -> int:
    """The event from which on it is another world."""
    return round(FLIP_AT * len(stream))


def flipped(stream: Stream, column: int, share: float, seed: int) -> Stream:
    """The stream in which a share of the users or items turns at `FLIP_AT`."""
    ids = np.unique(stream.ids[:, column])
    turned = np.isin(stream.ids[:, column], ids[np.random.default_rng(seed).random(len(ids)) < share])
    turned &= np.arange(len(stream)) >= flip_at(stream)
    return replace(stream, labels=np.where(turned, 1 - stream.labels, stream.labels))


def observer(bases: Floats, stream: Stream) -> Floats:
    """Scores of the ideal observer; `bases` are those of the network in the world without a flip."""
    known = bases.clip(1e-3, 1 - 1e-3)
    gain = np.where(stream.labels == 1, 1.0, -1.0) * np.log(known / (1 - known))
    odds: defaultdict[int, float] = defaultdict(lambda: float(np.log(FLIPPED_SHARE / (1 - FLIPPED_SHARE))))
    scores, items = known.copy(), stream.ids[:, ITEM].tolist()
    for at in range(flip_at(stream), len(stream)):
        turned = 1 / (1 + np.exp(-odds[items[at]]))
        scores[at] += turned * (1 - 2 * scores[at])
        odds[items[at]] -= gain[at]
    return scores


def windows(stream: Stream) -> list[slice]:
    """Those of `AFTER`, in a stream of any length."""
    at, of_all = flip_at(stream), len(stream) / EVENTS
    return [slice(at + round(start * of_all), at + round(end * of_all)) for start, end in AFTER]


def aucs(scores: Floats, stream: Stream) -> Floats:
    """AUC in each window."""
    return np.array([auc(scores[part], stream.labels[part]) for part in windows(stream)])


def flip(stream: Stream, seeds: int, step: int) -> list[Result]:
    """A fifth of the items turns: shares of the lost AUC won back, by memory, observer and network alone."""
    lost: dict[str, list[Floats]] = {"memory": [], "observer": [], "network": [], "nobody": []}
    for seed in range(seeds):
        other = flipped(stream, ITEM, FLIPPED_SHARE, seed)
        usual, turned = followed_apart([stream, other], flip_at(stream), seed, step)
        normal = aucs(usual.bases, stream)
        lost["nobody"].append(normal - aucs(usual.bases, other))
        lost["network"].append(normal - aucs(turned.bases, other))
        lost["observer"].append(normal - aucs(observer(usual.bases, other), other))
        lost["memory"].append(aucs(usual.scores, stream) - aucs(turned.scores, other))
    mean = {name: np.mean(each, axis=0) for name, each in lost.items()}
    back = {name: 100 * (1 - _over(each, mean["nobody"])) for name, each in mean.items()}
    before = {name: 100 * (1 - _over(each, each[:1])) for name, each in mean.items()}  # the measure of earlier versions
    each_seed = 100 * (1 - _over(np.array(lost["memory"]), np.array(lost["nobody"])))
    of_observer = 100 * _over(back["memory"], back["observer"])
    results = []
    for column, (start, end) in list(enumerate(AFTER))[1:]:
        of_own = ", ".join(f"{name} {before[name][column]:.0f}" for name in ("memory", "observer", "network"))
        note = (
            f"observer {back['observer'][column]:.0f} %, network alone {back['network'][column]:.0f} %; "
            f"seeds {each_seed[:, column].min():.0f} to {each_seed[:, column].max():.0f}; "
            f"of each one's own first loss: {of_own} %"
        )
        name = f"flip: of the AUC lost, back between {start:,} and {end:,} labels after"
        results.append(Result(name=name, value=back["memory"][column], unit="%", note=note))
        results.append(at_least("… of what the observer has back", of_observer[column], "%", TARGET))
    return results


def _over(part: Floats, whole: Floats) -> Floats:
    """part / whole; in a tiny stream the whole may be nothing."""
    found: Floats = part / np.where(np.abs(whole) < 1e-9, 1e-9, whole)
    return found


def other_turns(stream: Stream, seeds: int, step: int) -> list[Result]:
    """What hypotheses of a share of the items do where something else turns."""
    fresh = stream.ids.copy()
    fresh[flip_at(stream) :, ITEM] += 1 << 40
    fixed = {
        "all items turn": flipped(stream, ITEM, 1.1, 0),
        "all items get new ids": replace(stream, ids=fresh),
        "nothing turns": stream,
    }
    names = ("a fifth of the users turns", *fixed)
    found = np.empty((seeds, len(names), 3, len(AFTER)))  # with hypotheses, without, network alone
    for seed in range(seeds):
        worlds = [flipped(stream, USER, FLIPPED_SHARE, seed), *fixed.values()]
        runs = [followed_apart(worlds, flip_at(stream), seed, step, **params) for params in ({}, {"turn_events": 0})]
        for number, (world, held, without) in enumerate(zip(worlds, *runs)):
            found[seed, number] = [aucs(scores, world) for scores in (held.scores, without.scores, held.bases)]
    places = ", ".join(f"{start:,}–{end:,}" for start, end in AFTER)
    results = []
    for number, name in enumerate(names):
        gains = found[:, number, 0, -1] - found[:, number, 1, -1]
        kinds = zip(("with", "without", "network alone"), found[:, number].mean(axis=0))
        notes = "; ".join(f"{kind} {' '.join(f'{value:.3f}' for value in row)}" for kind, row in kinds)
        results.append(
            Result(
                name=f"{name}: AUC gained by the hypotheses, {AFTER[-1][0]:,} to {AFTER[-1][1]:,} labels after",
                value=float(gains.mean()),
                unit="",
                note=f"AUC in {places}: {notes}; gains of {seeds} seeds {gains.min():.4f} to {gains.max():.4f}",
            )
        )
    return results
