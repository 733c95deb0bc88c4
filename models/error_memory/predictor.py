"""What an error memory publishes: the network, the memory at that time, and how the memory corrects the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.neighbours import NOBODY
from thalweg.memory.vectors.resident import shared_vectors
from thalweg.memory.vectors.sketch import FrozenSketch
from thalweg.memory.vectors.slots import Seqs
from thalweg.memory.vectors.window import Window
from thalweg.models.error_memory.compensation import compensation
from thalweg.models.error_memory.ctr_network import FrozenNetwork, Shape, sigmoid
from thalweg.models.error_memory.guard import Trust
from thalweg.models.error_memory.inputs import Ids, Numbers, RecommenderInputs
from thalweg.models.error_memory.key_space import KeySpace
from thalweg.models.error_memory.reading import Reading, Recalled, Remembered, scaled_numbers
from thalweg.models.error_memory.turns import Turns
from thalweg.models.error_memory.views import entries_of
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import SCORING, Task

Floats = NDArray[np.float64]


_MOST_KEPT = 4096  # events


class Known(NamedTuple):
    """What a predictor knows of N events."""

    base: Floats
    """(N,) scores of the network."""
    hidden: NDArray[np.float32]
    """(N, h) its last hidden layers."""
    sound: NDArray[np.bool_]
    """(N,) whether all numbers are finite."""
    recalled: Recalled | None
    """What the memory says, for a learned combination."""


class Answers(NamedTuple):
    """What a learned combination answers to N events, (N,) each; all are the same without hypotheses of a turn."""

    plain: Floats
    """Learned from the labels as they are."""
    unturned: Floats
    """If nothing had turned, learned from labels that are taken back by how probably they were turned."""
    turned: Floats
    """That, turned by how probably the item has turned."""


class ErrorMemoryPredictor:
    """Predicts `score`, `base_score` and `compensation`; a row with a number that is not finite gets NaN."""

    def __init__(
        self,
        inputs: RecommenderInputs,
        network: FrozenNetwork,
        scale: tuple[Floats, Floats],
        remembered: Remembered,
        reading: Reading,
        weights: Mapping[str, Floats],
        trust: Trust,
        events: int,
    ) -> None:
        self._inputs, self._network, self._scale = inputs, network, scale
        self._remembered, self._reading, self._weights, self._events = remembered, reading, weights, events
        """`weights` are those of the combinations, `plain` and, with hypotheses of a turn, `unturned`."""
        self._trust = trust
        self._latest: tuple[tuple[bytes, bytes], Known] | None = None

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._inputs.specs

    @property
    def task(self) -> Task:
        return SCORING

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {name: TensorSpec(name, "float32", ()) for name in ("score", "base_score", "compensation")}

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def properties(self) -> Mapping[str, str]:
        return {"score": "probability of the label 1", "events_in_network": str(self._events)}

    def searching_on(self, device: Device) -> ErrorMemoryPredictor:
        """The same, whose keys are searched on a device. Raises DeviceFailed if there is no room for them."""
        held = self._remembered
        if held.window is not None and "key" in self._reading.views and self._reading.search == "auto":
            self._remembered = replace(held, resident=shared_vectors(device, held.window, "vector"))
        return self

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        known = self.known(*self._inputs.gather(inputs))
        score = self.corrected(known)
        found = {"score": score, "base_score": known.base, "compensation": score - known.base}
        answers = {name: column.astype(np.float32) for name, column in found.items()}
        for column in answers.values():
            column[~known.sound] = np.nan
        return answers

    def known(self, ids: Ids, numbers: Numbers) -> Known:
        """What is known of these events; computed once where they are predicted and then learned."""
        asked = ids.tobytes(), numbers.tobytes()
        if (latest := self._latest) is not None and latest[0] == asked:
            return latest[1]
        base, hidden, sound = self.base(ids, numbers)
        told = scaled_numbers(numbers, sound, *self._scale)
        recalled = None
        if len(ids) and self._reading.views and self._reading.combine == "learned":
            recalled = self._remembered.recall(ids, told, hidden, base, self._reading)
        found = Known(base, hidden, sound, recalled)
        if len(ids) <= _MOST_KEPT:
            self._latest = asked, found
        return found

    def base(self, ids: Ids, numbers: Numbers) -> tuple[Floats, NDArray[np.float32], NDArray[np.bool_]]:
        """Scores of the network (N,), its hidden layers (N, h), and which rows are finite."""
        sound: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(numbers), axis=1)
        base, hidden = self._network.scores(ids, scaled_numbers(numbers, sound, *self._scale))
        return base, hidden, sound

    def corrected(self, known: Known) -> Floats:
        """Scores (N,), corrected by the memory."""
        if not len(known.base) or not self._reading.views:
            return known.base
        if known.recalled is None:
            near, _ = self._remembered.neighbourhood(known.hidden, self._reading)
            return known.base + compensation(known.base, near, self._reading.gamma, self._reading.strength)
        own = self.mixed(self.answers(known.recalled))
        return self._trust.mixed(own, known.base, known.recalled.features)

    def answers(self, recalled: Recalled) -> Answers:
        """By the learned combination; a row's bits do not depend on the others."""
        plain = sigmoid((recalled.features * self._weights["plain"]).sum(axis=1))
        if (turns := self._remembered.turns) is None:
            return Answers(plain, plain, plain)
        unturned = sigmoid((recalled.unturned * self._weights["unturned"]).sum(axis=1))
        return Answers(plain, unturned, unturned + turns.turned(recalled.agreement) * (1.0 - 2.0 * unturned))

    def mixed(self, answers: Answers) -> Floats:
        """Scores (N,) with the memory, before they are held against what else is known (`guard`)."""
        turns = self._remembered.turns
        return answers.plain if turns is None else answers.plain + turns.trust * (answers.turned - answers.plain)

    def explain(self, inputs: Inputs, most: int = 10) -> list[list[dict[str, Any]]]:
        """The entries behind each row's score, those with the largest weight first.

        Args:
            inputs: As for `predict`.
            most: Entries per row and view.

        Returns:
            Per row, entries with `id`, `view`, `label`, `base_score`, `time` (Unix seconds), their position in the log
            (`topic`, `partition`, `offset`; only of events from a log), and, for the key view, their
            `weight`. A sketch stores no entries, so it returns none.
        """
        ids, numbers = self._inputs.gather(inputs)
        _, hidden, _ = self.base(ids, numbers)
        rows: list[list[dict[str, Any]]] = [[] for _ in range(len(ids))]
        window = self._remembered.window
        if window is None:
            return rows
        for name in self._reading.views:
            if name == "key":
                near, seqs = self._remembered.neighbourhood(hidden, self._reading)
                for row, (mine, weights) in enumerate(zip(seqs, near.weights)):
                    there = mine[mine != NOBODY][:most]
                    rows[row] += _told(
                        window, self._remembered.topics, there, name, weights[mine != NOBODY][:most].tolist()
                    )
            else:
                for row, number in enumerate(ids[:, 0 if name == "user" else 1]):
                    _, mine = entries_of(window, name, np.array([number]), self._reading.view_events)
                    rows[row] += _told(window, self._remembered.topics, mine[::-1][:most], name, None)
        return rows

    def state(self) -> State:
        tensors = {f"network.{name}": array for name, array in self._network.tensors().items()}
        tensors |= {f"weights.{name}": weights for name, weights in self._weights.items()}
        tensors |= {f"trust.{name}": array for name, array in self._trust.tensors().items()}
        tensors |= {"shift": self._scale[0], "factor": self._scale[1]}
        held, turns = self._remembered, self._remembered.turns
        meta: dict[str, Any] = {
            "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in self._inputs.specs.values()],
            "shape": asdict(self._network.shape),
            "reading": asdict(self._reading),
            "mean_label": held.mean_label,
            "topics": list(held.topics),
            "events": self._events,
        }
        if held.space is not None:
            tensors |= {f"keys.{name}": array for name, array in held.space.tensors().items()}
        if held.sketch is not None:
            tensors |= {f"sketch.{name}": array for name, array in held.sketch.tensors().items()}
        if held.window is not None and held.window.table.path is not None:
            meta["window"] = held.window.reference()
        elif held.window is not None:
            tensors |= {f"entry.{name}": array for name, array in held.window.tensors().items()}
            if turns is not None:  # entries are numbered anew
                turns = turns.renumbered(held.window.rank)
        if turns is not None:
            tensors |= {f"turns.{name}": array for name, array in turns.tensors().items()}
        return State(tensors, meta)

    @classmethod
    def of(cls, state: State) -> ErrorMemoryPredictor:
        """The predictor of a `state()`; maps of a file are used in place."""
        meta, tensors = state.meta, state.tensors
        inputs = RecommenderInputs({name: TensorSpec(name, kind, tuple(size)) for name, kind, size in meta["inputs"]})
        shape = _tupled(Shape, meta["shape"])
        reading = _tupled(Reading, meta["reading"])
        if reading.search == "faiss_gpu":  # of an earlier version
            reading = replace(reading, search="auto")
        entries, sketch, turns = (_below(tensors, f"{name}.") for name in ("entry", "sketch", "turns"))
        window = Window.of(entries) if entries else None
        if "window" in meta:
            window = Window.at(meta["window"], reading.entry_columns(shape.hidden[-1]))
        remembered = Remembered(
            window,
            FrozenSketch.of(sketch) if sketch else None,
            KeySpace.of(_below(tensors, "keys.")),
            meta["mean_label"],
            tuple(meta["topics"]),
            Turns.of(turns),
        )
        network = FrozenNetwork.of(shape, _below(tensors, "network."))
        scale = tensors["shift"], tensors["factor"]
        weights = _below(tensors, "weights.")
        trust = Trust.of(_below(tensors, "trust."))
        return cls(inputs, network, scale, remembered, reading, weights, trust, meta["events"])


def _told(
    window: Window, topics: tuple[str, ...], seqs: Seqs, name: str, weights: list[float] | None
) -> list[dict[str, Any]]:
    names = ("id", "label", "base", "time", "topic", "partition", "offset")
    columns = {column: window.take(column, seqs) for column in names}
    told = []
    for at in np.flatnonzero(window.standing(seqs)).tolist():
        entry: dict[str, Any] = {
            "id": bytes(columns["id"][at]).rstrip(b"\0").decode("utf-8", "replace"),
            "view": name,
            "label": float(columns["label"][at]),
            "base_score": float(columns["base"][at]),
            "time": float(columns["time"][at]),
        }
        if (topic := int(columns["topic"][at])) >= 0:
            place = int(columns["partition"][at]), int(columns["offset"][at])
            entry |= {"topic": topics[topic], "partition": place[0], "offset": place[1]}
        told.append(entry if weights is None else {**entry, "weight": weights[at]})
    return told


def _below(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _tupled(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from JSON, whose lists were tuples."""
    names = [field.name for field in fields(kind) if field.name in values]  # a state of before has fewer
    return kind(**{name: tuple(values[name]) if isinstance(values[name], list) else values[name] for name in names})
