"""Experts of one prediction: each learns from every event, and weights that are learned online mix what they say.

Types are mixed by one set of weights and gaps given the type by another, each judged by the events alone, before they
are learned (`mixing.py`). A third set, judged by wrong types, says which type is answered. A single base is a mixture
of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.models.prompt_tpp.closed_form import Counts, GapTable, MarkovTable, of_noted
from thalweg.models.prompt_tpp.expert import NetworkExpert, Samples
from thalweg.models.prompt_tpp.mixing import ExpertWeights, gains
from thalweg.models.prompt_tpp.next_event import NextEvent
from thalweg.models.prompt_tpp.params import Params
from thalweg.models.prompt_tpp.reading import Reading
from thalweg.proto.schema import Array

PARTS = ("types", "gaps", "answers")
"""What has weights of its own; answers only with an `answer_rate`."""
_RECENT = 1000.0  # events over which likelihoods and gains are averaged
EXPERT_WEIGHT = GaugeSpec(
    name="expert_weight",
    help="Weight of an expert in the mixture of types, of gaps, and in the answered type",
    labels=("expert", "part"),
)
EXPERT_LIKELIHOOD = GaugeSpec(
    name="expert_log_likelihood",
    help="Log-likelihood per event of an expert alone, recent mean, time in the model's unit",
    labels=("expert",),
)
EXPERT_GAIN = GaugeSpec(
    name="expert_gain",
    help="Log-likelihood per event that the mixture would lose without the expert, recent mean",
    labels=("expert",),
)
EXPERT_SECONDS = GaugeSpec(
    name="expert_learn_seconds",
    help="Time that an expert has taken to learn in this process",
    kind="counter",
    labels=("expert",),
)


class Experts:
    """One thread drives them.

    Args:
        params: Of the learner.
        seed: Of the networks' first weights.
        device: Where networks learn.
        clock: Seconds, to tell what each costs; nothing else depends on it.
    """

    def __init__(
        self, params: Params, seed: int, device: Device | None = None, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._params = params
        self.device = device or Device()
        self.clock = clock
        self.members = params.members
        self.single = params.alone is not None
        self.networks: dict[str, NetworkExpert] = {
            name: NetworkExpert(params, params.shape(name), seed, self.device) for name in params.networks
        }
        count = len(self.members)
        self._weights = [ExpertWeights(count, params.expert_rate, params.expert_share) for _ in PARTS[:2]]
        self._answers = ExpertWeights(count, 1.0, params.expert_share)
        self.counting = {name: Counts.of(params.max_types, memory) for name, memory in params.memories.items()}
        self._recent = np.zeros((2, count))  # of each expert: log-likelihood, gain
        self._judged = 0  # events
        self._seconds: dict[str, float] = dict.fromkeys(self.members, 0.0)

    @property
    def left_out(self) -> int:
        """Steps that were skipped because they were not finite."""
        return sum(one.left_out for one in self.networks.values())

    def count(self, last: int, kind: int, gap: float) -> None:
        """An event of a type came, so many seconds after one of another."""
        for name, counts in self.counting.items():
            started = self.clock()
            counts.learn(last, kind, gap)
            self._seconds[name] += self.clock() - started

    def noted(self, last: NDArray[Any]) -> dict[str, Array]:
        """What those who count expect after types (N,): rows of samples, judged when they are learned."""
        return {f"{name}.{part}": rows for name, one in self.counting.items() for part, rows in one.noted(last).items()}

    def learn(self, samples: Samples, noted: Mapping[str, Array], unit: float, pace: float) -> None:
        """Judge the experts by these events, and let the networks learn from them.

        Args:
            samples: Events and silence, as they came.
            noted: What `noted` was for each.
            unit: Seconds of the model's unit.
            pace: Factor on the learning rate.
        """
        said = np.full((3, len(samples.types), len(self.members)), np.nan)
        for place, name in enumerate(self.members):
            started = self.clock()
            if name in self.counting:
                said[:, :, place] = _said(
                    samples, of_noted(name, noted[f"{name}.types"], noted[f"{name}.gaps"], samples.past, unit)
                )
            elif self.single:
                self.networks[name].learn(samples, pace)
            else:
                said[:, :, place] = self.networks[name].learn(samples, pace, said=True)
            self._seconds[name] += self.clock() - started
        if not self.single:
            self._judge(said[:, samples.types.numpy() >= 0])

    def _judge(self, said: NDArray[np.float64]) -> None:
        gained = np.zeros(said.shape[1:])
        for weights, logs in zip(self._weights, said):
            gained += gains(logs, weights.weights)
            weights.learn(logs)
        if self._params.answer_rate:
            self._answers.learn(-self._params.answer_rate * said[2])
        alone = np.nan_to_num(said[:2].sum(axis=0), nan=0.0, neginf=0.0)
        for likelihoods, gain in zip(alone, gained):
            self._judged += 1
            part = max(1.0 / self._judged, 1.0 / _RECENT)
            self._recent += part * (np.stack([likelihoods, gain]) - self._recent)

    def reading(self) -> Reading:
        """What they say now, of any history."""
        return Reading(
            {name: (network.shape, network.frozen()) for name, network in self.networks.items()},
            None if self.single else self.members,
            [tuple(one.weights.tolist()) for one in self._all_weights()],
            {name: (one.markov.counts.copy(), one.gaps.sums.copy()) for name, one in self.counting.items()},
        )

    def _all_weights(self) -> list[ExpertWeights]:
        """In the order of `PARTS`."""
        return [*self._weights, self._answers] if self._params.answer_rate else self._weights

    def gauges(self) -> Mapping[str, GaugeValue]:
        """Weights, likelihoods, gains, and costs; none of a single base."""
        if self.single:
            return {}
        each = list(enumerate(self.members))
        return {
            "expert_weight": {
                (name, part): float(weights.weights[place])
                for place, name in each
                for part, weights in zip(PARTS, self._all_weights())
            },
            "expert_log_likelihood": {(name,): float(self._recent[0, place]) for place, name in each},
            "expert_gain": {(name,): float(self._recent[1, place]) for place, name in each},
            "expert_learn_seconds": {(name,): seconds for name, seconds in self._seconds.items()},
        }

    # State: a single base has the names that it always had

    def _prefixes(self, name: str) -> tuple[str, str]:
        return ("network.", "chosen.") if self.single else (f"expert.{name}.", f"expert_chosen.{name}.")

    def tensors(self) -> dict[str, Array]:
        """All arrays, not copied."""
        found: dict[str, Array] = {}
        for name, network in self.networks.items():
            weights, chosen = self._prefixes(name)
            found |= {f"{weights}{key}": array for key, array in network.tensors().items()}
            found |= {f"{chosen}{key}": array for key, array in network.chosen().items()}
        if not self.single:
            found["expert_weights"] = np.stack([one.weights for one in self._weights])
            if self._params.answer_rate:
                found["expert_answers"] = self._answers.weights
            found["expert_recent"] = self._recent
        for name, counts in self.counting.items():
            found |= {f"expert.{name}.types": counts.markov.counts, f"expert.{name}.gaps": counts.gaps.sums}
        return found

    def counts(self) -> dict[str, Any]:
        """Counters that are part of the state."""
        if self.single:
            return next(iter(self.networks.values())).counts()
        return {"judged": self._judged, **{name: one.counts() for name, one in self.networks.items()}}

    def restore(self, tensors: Mapping[str, Array], counts: Mapping[str, Any]) -> None:
        """From `tensors()` and `counts()`."""

        def below(prefix: str) -> dict[str, Array]:
            return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}

        for name, network in self.networks.items():
            weights, chosen = map(below, self._prefixes(name))
            network.restore(weights, chosen, counts if self.single else counts[name])
        if not self.single:
            for one, row in zip(self._weights, tensors["expert_weights"]):
                one.weights = np.array(row)
            if "expert_answers" in tensors:  # a state of an earlier version has none: all begin alike
                self._answers.weights = np.array(tensors["expert_answers"])
            else:
                self._answers.weights = np.full(len(self.members), 1.0 / len(self.members))
            self._recent, self._judged = np.array(tensors["expert_recent"]), int(counts["judged"])
        for expert, tables in self.counting.items():
            tables.markov = MarkovTable(np.array(tensors[f"expert.{expert}.types"]))
            tables.gaps = GapTable(np.array(tensors[f"expert.{expert}.gaps"]))


def _said(samples: Samples, reading: NextEvent) -> NDArray[np.float64]:
    """Log-probabilities of types, log-densities of gaps, and whether another type was the most likely, (3, B); NaN for
    silence."""
    kinds = samples.types.clamp(min=0)[:, None]
    of_types = reading.types.gather(1, kinds)[:, 0].double().numpy()
    missed = (reading.types.argmax(dim=1) != samples.types).double().numpy()
    told = np.stack([of_types, reading.log_density(samples.gaps)[:, 0].double().numpy(), missed])
    told[:, samples.types.numpy() < 0] = np.nan
    return told
