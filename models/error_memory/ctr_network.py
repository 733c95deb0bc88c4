"""Click-through networks that learn in one pass over a stream, in torch: DCNv2, DeepFM and a plain MLP.

Sources: Wang et al., "DCN V2", WWW 2021 (arXiv:2008.13535), parallel structure; Guo et al., "DeepFM", IJCAI 2017
(arXiv:1703.04247). Layers learn by Adam (Kingma and Ba, 2015), embedding rows by Adagrad (Duchi et al., JMLR 2011):
a row is updated only when its id occurs, with steps that decrease, which Adam's running moments would not provide.
Every id has a row in a bounded table; an id never learned is a row of zeros.
Cost per event: about 3 · (layers · D² + D · first hidden) multiply-adds, D numbers of all embeddings concatenated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.models.error_memory.id_table import FrozenTable, IdTable
from thalweg.models.parts.adam import Adam
from thalweg.models.parts.torch_setup import Tensor, functional, torch
from thalweg.proto.schema import Array

Weights: TypeAlias = Mapping[str, Tensor]
Ids: TypeAlias = NDArray[np.int64]
NetworkKind: TypeAlias = Literal["dcnv2", "deepfm", "mlp"]

ALIGN = 4
"""Widths of layers are multiples of this: rows at unaligned addresses use other instructions, and a row's
bits would depend on its position in a request."""
_TILE = 16  # rows computed at a time in prediction: a constant, so that a row's bits do not depend on the others
_GPU_TILE = 64  # on a GPU, where it is the learner alone that predicts
_SPREAD = 0.01


@dataclass(frozen=True, slots=True)
class Shape:
    """The architecture of a network."""

    network: NetworkKind
    fields: int
    """Ids per event, each with its own embedding."""
    numeric: int
    """Numbers per event."""
    dim: int
    """Numbers per embedding."""
    hidden: tuple[int, ...]
    """Widths of the deep part; the last is the width of a memory's key."""
    cross_layers: int
    zero_numbers: bool = False
    """Whether the first weights of the numbers are 0 instead of random."""

    @property
    def row_width(self) -> int:
        """Numbers per id: its embedding; for DeepFM also a first-order weight."""
        return self.dim + (self.network == "deepfm")

    @property
    def flat(self) -> int:
        """Numbers of all embeddings and numeric features concatenated, padded with zeros to a multiple of 4, D."""
        return -(-(self.fields * self.dim + self.numeric) // ALIGN) * ALIGN


def draw_weights(shape: Shape, seed: int) -> dict[str, Array]:
    """First weights: uniform within ±1/√inputs (as torch's own linear layers), the same for the same seed.

    With `zero_numbers` those from numbers are 0: one that is learned to mean something later (a mark of missing values,
    where none was missing) has no effect until then. Embeddings and constants keep the layers alive.
    """
    generator = np.random.Generator(np.random.PCG64([seed, 0x637472]))
    layers: dict[str, tuple[int, int]] = {}
    width = shape.flat
    for number, hidden in enumerate(shape.hidden):
        layers[f"deep.{number}"] = (hidden, width)
        width = hidden
    if shape.network == "dcnv2":
        layers |= {f"cross.{number}": (shape.flat, shape.flat) for number in range(shape.cross_layers)}
        layers["out"] = (1, shape.flat + width)
    else:
        layers["out"] = (1, width)
    if shape.network == "deepfm" and shape.numeric:
        layers["linear"] = (1, shape.flat)
    weights = {}
    for name, (rows, columns) in layers.items():
        bound = columns**-0.5
        weights[f"{name}.weight"] = generator.uniform(-bound, bound, (rows, columns)).astype(np.float32)
        weights[f"{name}.bias"] = generator.uniform(-bound, bound, rows).astype(np.float32)
    if shape.zero_numbers:
        numbers = slice(shape.fields * shape.dim, shape.fields * shape.dim + shape.numeric)
        for name in (
            "deep.0",
            "out" if shape.network == "dcnv2" else "",
            *(f"cross.{n}" for n in range(shape.cross_layers)),
        ):
            if f"{name}.weight" in weights:
                weights[f"{name}.weight"][:, numbers] = 0.0
        if "linear.weight" in weights:
            weights["linear.weight"][:] = 0.0
    return weights


def forward(shape: Shape, weights: Weights, rows: Tensor, numeric: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N,) and last hidden layers (N, h) for rows (N, fields, row_width) and numeric features (N, H)."""
    embedded = rows[:, :, : shape.dim]
    flat = torch.cat([embedded.reshape(len(rows), -1), numeric], dim=1)
    flat = functional.pad(flat, (0, shape.flat - flat.shape[1]))
    hidden = flat
    for number in range(len(shape.hidden)):
        name = f"deep.{number}"
        hidden = torch.relu(functional.linear(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"]))
    top = hidden
    if shape.network == "dcnv2":
        crossed = flat
        for number in range(shape.cross_layers):
            name = f"cross.{number}"
            crossed = flat * functional.linear(crossed, weights[f"{name}.weight"], weights[f"{name}.bias"]) + crossed
        top = torch.cat([crossed, hidden], dim=1)
    logits = functional.linear(top, weights["out.weight"], weights["out.bias"])[:, 0]
    if shape.network == "deepfm":
        total = embedded.sum(dim=1)
        pairs = 0.5 * (total * total - (embedded * embedded).sum(dim=1)).sum(dim=1)
        logits = logits + pairs + rows[:, :, shape.dim].sum(dim=1)
        if shape.numeric:
            logits = (
                logits
                + functional.linear(
                    functional.pad(numeric, (0, shape.flat - shape.numeric)),
                    weights["linear.weight"],
                    weights["linear.bias"],
                )[:, 0]
            )
    return logits, hidden


class FrozenNetwork:
    """A network for prediction; any number of threads may use it.

    Args:
        shape: Its architecture.
        weights: On the device; none is changed later.
        tables: Of each field, there too.
        device: Where it computes; None: with the processor.
    """

    def __init__(self, shape: Shape, weights: Weights, tables: list[FrozenTable], device: Device | None = None) -> None:
        self.shape, self._weights, self._tables = shape, weights, tables
        self._device = device or Device()

    def scores(self, ids: Ids, numeric: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Probabilities (N,) and last hidden layers (N, h), for ids (N, fields) and numeric features (N, H)."""
        if not self._device.is_processor:
            return self._scores_there(ids, numeric)
        count, shape = len(ids), self.shape
        tiles = -(-count // _TILE)
        rows = np.zeros((tiles * _TILE, shape.fields, shape.row_width), dtype=np.float32)
        numbers = np.zeros((tiles * _TILE, shape.numeric), dtype=np.float32)
        numbers[:count] = numeric
        for field, table in enumerate(self._tables):
            rows[:count, field] = table[ids[:, field]]
        logits = np.empty(tiles * _TILE, dtype=np.float64)
        hidden = np.empty((tiles * _TILE, shape.hidden[-1]), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(rows), _TILE):
                part = slice(start, start + _TILE)
                found = forward(shape, self._weights, torch.from_numpy(rows[part]), torch.from_numpy(numbers[part]))
                logits[part], hidden[part] = found[0].numpy(), found[1].numpy()
        return sigmoid(logits[:count]), hidden[:count]

    def _scores_there(self, ids: Ids, numeric: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """As `scores`; rows and numbers are sent once, and what is found comes back once."""
        count, device = len(ids), self._device
        padded = max(1, -(-count // _GPU_TILE)) * _GPU_TILE
        places = np.stack([table.places(ids[:, field]) for field, table in enumerate(self._tables)])
        at = device.put(np.pad(places, ((0, 0), (0, padded - count))))
        numbers = device.put(np.pad(numeric, ((0, padded - count), (0, 0))))
        rows = torch.stack([_tensor(table.rows).index_select(0, one) for table, one in zip(self._tables, at)], dim=1)
        with torch.no_grad():
            found = [
                forward(self.shape, self._weights, rows[start : start + _GPU_TILE], numbers[start : start + _GPU_TILE])
                for start in range(0, padded, _GPU_TILE)
            ]
        logits, hidden = (device.fetch(torch.cat(each))[:count] for each in zip(*found))
        return sigmoid(logits.astype(np.float64)), hidden

    def tensors(self) -> dict[str, Array]:
        """For a published version."""
        found = self._device.fetch_all(self._weights)
        for field, table in enumerate(self._tables):
            found |= {f"table.{field}.{name}": array for name, array in table.tensors(self._device).items()}
        return found

    @classmethod
    def of(cls, shape: Shape, tensors: Mapping[str, Array]) -> FrozenNetwork:
        """The one of these `tensors()`; maps of a file are used in place."""
        tables = [
            FrozenTable(tensors[f"table.{field}.ids"], tensors[f"table.{field}.rows"]) for field in range(shape.fields)
        ]
        weights = {name: torch.from_numpy(_writable(tensors[name])) for name in draw_weights(shape, 0)}
        return cls(shape, weights, tables)


class Network:
    """A network that learns. One thread uses it.

    Args:
        shape: Its architecture.
        rows: Most ids per field; the least recently used is evicted first.
        learning_rate: Adam's, of the weights that every event moves.
        row_rate: Adagrad's, of embedding rows: about the size of the first update of a new id's row.
        seed: Of the first weights and of new rows.
        device: Where weights and rows are; None: with the processor.
    """

    def __init__(
        self,
        shape: Shape,
        rows: int,
        learning_rate: float,
        row_rate: float,
        seed: int,
        device: Device | None = None,
    ) -> None:
        self.shape, self._device = shape, device or Device()
        self._row_rate = row_rate
        self._adam = Adam(draw_weights(shape, seed), learning_rate, device)
        self._tables = [IdTable(shape.row_width, rows, (seed, field), _SPREAD, device) for field in range(shape.fields)]
        self._frozen: FrozenNetwork | None = None

    @property
    def ids_kept(self) -> int:
        """Rows of all tables."""
        return sum(map(len, self._tables))

    @property
    def ids_evicted(self) -> int:
        """Number of ids evicted."""
        return sum(table.evicted for table in self._tables)

    def learn(
        self,
        ids: Ids,
        numeric: Array,
        labels: Array,
        weights: Array,
        teacher: Array | None = None,
        share: float = 0.0,
        pace: float = 1.0,
    ) -> None:
        """One step of Adam on the mean cross-entropy of these events.

        Args:
            ids: (n, fields); n at most as many as a table keeps rows.
            numeric: (n, H).
            labels: (n,) in 0 … 1.
            weights: (n,), 0 or more.
            teacher: (n,) probabilities of the previous network, for distillation.
            share: Weight of the distillation loss.
            pace: Factor on the learning rates.
        """
        places, inverses, leaves = [], [], []
        for field, table in enumerate(self._tables):
            distinct, inverse = np.unique(ids[:, field], return_inverse=True)
            at = table.places(distinct)
            places.append(at)
            inverses.append(inverse)
            leaves.append(table.leaf(at))
        put, count = self._device.put, len(ids)
        which = put(np.stack(inverses))  # (fields, n): one copy for all
        parameters = self._adam.leaves()
        rows = torch.stack([leaf[inverse] for leaf, inverse in zip(leaves, which)], dim=1)
        logits, _ = forward(self.shape, parameters, rows, put(numeric.astype(np.float32)))
        towards = labels if teacher is None else (1.0 - share) * labels + share * teacher
        loss = functional.binary_cross_entropy_with_logits(
            logits, put(towards.astype(np.float32)), put(weights.astype(np.float32)), reduction="sum"
        )
        loss = loss / count
        names = list(parameters)
        gradients = torch.autograd.grad(loss, [*(parameters[name] for name in names), *leaves])
        self._adam.pace = pace
        self._adam.step(dict(zip(names, gradients)))
        for table, at, gradient in zip(self._tables, places, gradients[len(names) :]):
            table.step(at, gradient, pace * self._row_rate)
        self._frozen = None

    def mix(
        self, layers: Mapping[str, Array], share: float, tables: Sequence[Mapping[str, Array]], weight: float
    ) -> None:
        """Move weights towards those of others.

        Args:
            layers: Weights of the others, by name.
            share: Of these in the mean, 0 … 1.
            tables: By field: `ids` (n,), `rows` (n, row_width), and the `weights` (n,) of each.
            weight: Of the own rows.

        Raises:
            ValueError: They are of another shape; nothing has changed.
        """
        mine = self._adam.frozen()
        for name, array in mine.items():
            if name not in layers or layers[name].shape != array.shape:
                raise ValueError(
                    f"{name}: expected weights {array.shape}, got {getattr(layers.get(name), 'shape', None)}"
                )
        if any(table["rows"].shape[1] != self.shape.row_width for table in tables):
            raise ValueError(f"embedding rows: expected {self.shape.row_width} numbers")
        for name, array in mine.items():
            old = array.astype(np.float64)
            self._adam.weights[name] = self._device.own((old + share * (layers[name] - old)).astype(np.float32))
        for own, table in zip(self._tables, tables):
            own.mix(table["ids"], table["rows"], table["weights"] / (weight + table["weights"]))
        self._frozen = None

    def frozen(self) -> FrozenNetwork:
        """A network that predicts as this does now; the same object until the next `learn`."""
        if self._frozen is None:
            tables = [table.frozen() for table in self._tables]
            weights = dict(self._adam.weights)  # a step makes new tensors, so these do not change
            if self._device.is_processor:  # aligned as arrays are: other alignments are summed in another order
                weights = {name: torch.from_numpy(array) for name, array in self._adam.frozen().items()}
            self._frozen = FrozenNetwork(self.shape, weights, tables, self._device)
        return self._frozen

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        found = self._adam.tensors()
        for field, table in enumerate(self._tables):
            found |= {f"table.{field}.{name}": array for name, array in table.tensors().items()}
        return found

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the network whose `tensors()` these are."""
        self._adam.restore(tensors)
        for field, table in enumerate(self._tables):
            table.restore({name: tensors[f"table.{field}.{name}"] for name in ("ids", "rows", "counts")})
        self._frozen = None


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + e^-z), without overflow."""
    found: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return found


def _tensor(rows: Array | Tensor) -> Tensor:
    assert isinstance(rows, Tensor)
    return rows


def _writable(array: Array) -> Array:
    """The same array for torch, which warns of read-only ones; it is never written to."""
    return array if array.flags.writeable else np.array(array)
