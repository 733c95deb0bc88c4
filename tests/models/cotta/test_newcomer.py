"""What a newcomer does first: defaults, a small network of one's own, digits that change, no labels or few."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.models import small_networks
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import samples
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.cotta.learner import Cotta
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

NAMES = tuple(str(k) for k in range(10))
SHIFTS = {
    "clean": lambda x: x,
    "fog": lambda x: 0.6 * x + 0.4,
    "strong fog": lambda x: 0.2 * x + 0.8,
    "little light": lambda x: 0.4 * x,
}
Floats = NDArray[np.float32]
NETWORKS: Mapping[str, tuple[int, ...]] = {
    "digits": (1, 8, 8),
    "flat_digits": (1, 8, 8),
    "digit_vectors": (64,),
    "layered_digits": (64,),
}
NORMALISED = ("digits", "flat_digits", "digit_vectors")


@cache
def digits() -> tuple[Floats, NDArray[np.int64]]:
    """All pictures (N, 64), in disorder."""
    load = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn: pip install 'thalweg[demo]'").load_digits
    data = load()
    order = np.random.default_rng(0).permutation(len(data.data))
    return (data.data[order] / 16.0).astype(np.float32), data.target[order].astype(np.int64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Weights of each network, after 900 pictures."""
    x, y = (torch.from_numpy(each[:900]) for each in digits())
    found = {}
    for name, shape in NETWORKS.items():
        model, generator = getattr(small_networks, name)().train(), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(15):
            for rows in torch.randperm(900, generator=generator).view(-1, 50):
                loss = torch.nn.functional.cross_entropy(model(x[rows].view(-1, *shape)), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        found[name] = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        save_file(model.state_dict(), found[name])
    return found


def stream(shift: str, count: int, seed: int = 1, only: int | None = None) -> tuple[Floats, NDArray[np.int64]]:
    """So many pictures that the network has not seen, with a little noise; of one class alone."""
    x, y = (each[900:] for each in digits())
    generator = np.random.default_rng(seed)
    rows = generator.choice(np.arange(len(x)) if only is None else np.flatnonzero(y == only), count)
    shown = np.clip(x[rows] + generator.normal(0, 0.03, (count, 64)), 0, 1)
    return SHIFTS[shift](shown).astype(np.float32), y[rows]


class Deployed:
    """A learner with default settings, and what became of its answers."""

    def __init__(self, network: str, weights: Path, **params: Any) -> None:
        self._shape = NETWORKS[network]
        inputs = {"x": TensorSpec("x", "float32", self._shape)}
        settings = {"model": f"tests.models.small_networks:{network}", "weights": str(weights)}
        self.learner = Cotta(LearnerContext(inputs=inputs, params={**settings, **params}, seed=0))

    def right(self, shown: tuple[Floats, NDArray[np.int64]], labelled: float = 0.0) -> NDArray[np.float64]:
        """Whether each answer was right, (N,); each is given before its input is learned."""
        told, found = np.random.default_rng(2).random(len(shown[0])) < labelled, []
        for start in range(0, len(shown[0]), 50):
            x, y = (each[start : start + 50] for each in shown)
            x = x.reshape(-1, *self._shape)
            found.append(self.learner.predictor().predict({"x": x})["label"] == y)
            labels = ClassLabels(np.where(told[start : start + 50], y, -1).astype(np.int32), NAMES)
            self.learner.learn(Batch({"x": x}, labels, np.ones(len(x)), np.zeros(len(x))))
        return np.concatenate(found).astype(np.float64)


FROZEN: dict[str, Any] = {"variant": "bn", "statistics_rows": 0, "own": 0.0}


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_without_labels_it_is_never_worse_than_the_source(
    trained: Mapping[str, Path], network: str, shift: str
) -> None:
    shown = stream(shift, 1000)
    source = Deployed(network, trained[network], **FROZEN).right(shown)
    alone = Deployed(network, trained[network], learning_rate=0.0).right(shown)

    found = Deployed(network, trained[network]).right(shown)

    latest = slice(500, None)
    assert found[latest].mean() >= source[latest].mean() - 0.02
    assert found.mean() >= source.mean() - 0.02
    assert found[latest].mean() >= alone[latest].mean() - 0.02


@pytest.mark.parametrize("network", NORMALISED)
def test_where_the_statistics_help_they_are_found(trained: Mapping[str, Path], network: str) -> None:
    found = Deployed(network, trained[network]).right(stream("fog", 1000))

    assert found[200:].mean() > 0.93


def test_many_digits_later_it_is_as_right_as_at_first(trained: Mapping[str, Path]) -> None:
    deployed = Deployed("digits", trained["digits"])

    found = deployed.right(stream("fog", 3000))

    assert found[-1000:].mean() > 0.96


@pytest.mark.parametrize("network", ["flat_digits", "digit_vectors"])
def test_after_an_abrupt_shift_by_which_all_inputs_look_like_one_class_the_statistics_begin_again(
    trained: Mapping[str, Path], network: str
) -> None:
    deployed = Deployed(network, trained[network])
    deployed.right(stream("clean", 500))

    found = deployed.right(stream("strong fog", 700))

    assert found[200:].mean() > 0.93
    assert deployed.learner.gauges()["correlated_traffic"] == 0.0


def in_runs(shift: str, length: int, runs: int) -> tuple[Floats, NDArray[np.int64]]:
    """Pictures in runs of one class, never two of the same in a row."""
    classes = np.cumsum(np.random.default_rng(4).integers(1, 10, runs)) % 10
    parts = [stream(shift, length, seed=number, only=int(kind)) for number, kind in enumerate(classes)]
    x, y = zip(*parts)
    return np.concatenate(x), np.concatenate(y)


@pytest.mark.parametrize("length", [15, 25])
@pytest.mark.parametrize("network", ["flat_digits", "digit_vectors"])
def test_after_an_abrupt_shift_that_comes_in_runs_of_a_class_the_statistics_begin_again(
    trained: Mapping[str, Path], network: str, length: int
) -> None:
    """Fifty inputs are of one to four classes, and their own statistics do not tell these apart; fifty of four hundred
    are of all.
    """
    deployed = Deployed(network, trained[network])
    deployed.right(stream("clean", 500))

    found = deployed.right(in_runs("strong fog", length, 1200 // length))

    assert found[600:].mean() > 0.93
    assert deployed.learner.state().meta["counts"]["restarts"] >= 1


@pytest.mark.parametrize("network", ["digits", "digit_vectors"])
def test_runs_without_a_shift_are_none(trained: Mapping[str, Path], network: str) -> None:
    deployed = Deployed(network, trained[network])

    found = deployed.right(in_runs("clean", 40, 30))

    assert found[400:].mean() > 0.93
    assert deployed.learner.state().meta["counts"]["restarts"] == 0


@pytest.mark.parametrize("network", ["digits", "digit_vectors"])
@pytest.mark.parametrize("only", [1, 8])
def test_a_run_of_one_class_is_no_abrupt_shift(trained: Mapping[str, Path], network: str, only: int) -> None:
    deployed = Deployed(network, trained[network])
    shown = stream("clean", 600, only=only)

    found = deployed.right(shown)

    source = Deployed(network, trained[network], **FROZEN).right(shown)
    assert found.mean() >= source.mean() - 0.02
    assert deployed.learner.state().meta["counts"]["restarts"] == 0


@pytest.mark.parametrize("network", NORMALISED)
def test_labels_do_not_hold_a_source_that_is_worse(trained: Mapping[str, Path], network: str) -> None:
    found = Deployed(network, trained[network]).right(stream("fog", 1000), labelled=0.3)

    assert found[300:].mean() > 0.93


def test_labels_end_a_hold_at_the_source_as_soon_as_they_show_that_the_statistics_are_better(
    trained: Mapping[str, Path],
) -> None:
    deployed, again = (Deployed("digit_vectors", trained["digit_vectors"]) for _ in range(2))
    learner = deployed.learner
    state = learner.state()
    held = {**state.meta, "aside": True, "belt": {**state.meta["belt"], "waiting": 64}}
    learner.restore(State(state.tensors, held))
    early = deployed.right(stream("strong fog", 50), labelled=0.3)
    again.learner.restore(learner.state())

    found = deployed.right(stream("strong fog", 600), labelled=0.3)

    again.right(stream("strong fog", 600), labelled=0.3)
    assert early.mean() < 0.6
    assert found[300:].mean() > 0.93
    assert again.learner.state().sha256() == learner.state().sha256()


def test_labels_take_spoilt_weights_back_and_leave_the_statistics(trained: Mapping[str, Path]) -> None:
    blind = {"learning_rate": 0.3, "largest_update": 100.0, "least_agreement": 0.0, "least_entropy": 0.0}
    deployed = Deployed("digits", trained["digits"], **blind)

    found = deployed.right(stream("fog", 2000), labelled=0.3)

    assert samples(deployed.learner.gauges()["rollbacks"])[("canary",)] > 0
    assert not deployed.learner.state().meta["aside"]
    assert found[1000:].mean() > 0.9


@pytest.mark.parametrize("only", [3, 4, 9])
@pytest.mark.parametrize("network", ["digits", "digit_vectors"])
def test_a_stream_of_one_class_alone_is_answered_as_well_as_by_the_source(
    trained: Mapping[str, Path], network: str, only: int
) -> None:
    shown = stream("clean", 1500, only=only)
    source = Deployed(network, trained[network], **FROZEN).right(shown)

    found = Deployed(network, trained[network]).right(shown)

    excess = np.cumsum(np.concatenate([[0.0], source - found]))
    assert (excess[500:] - excess[:-500]).max() <= 10  # of 500 answers: two points


def test_what_was_doubted_goes_on_the_same_after_a_restart(trained: Mapping[str, Path]) -> None:
    x, y = stream("clean", 800, only=9)
    made, other = (Deployed("digit_vectors", trained["digit_vectors"]) for _ in range(2))
    made.right((x[:400], y[:400]))
    assert made.learner.state().tensors["doubt.state"][1] == 1  # it holds
    state = made.learner.state()
    other.learner.restore(State({name: np.array(array) for name, array in state.tensors.items()}, state.meta))

    made.right((x[400:], y[400:]))
    other.right((x[400:], y[400:]))

    mine, theirs = made.learner.state().tensors, other.learner.state().tensors
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
