"""A network filled with a state's tensors is the one that its factory makes and that loads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thalweg.models.contract.learner import ParamsError
from thalweg.models.cotta.target_norm import replace_batch_norms
from thalweg.models.networks import architectures
from thalweg.models.networks.architectures import filled
from thalweg.models.networks.torch_models import build

HERE = __name__
MADE = [0]


class Grid(nn.Module):
    """Numbers that no state holds, and some that one does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.linspace(0, 1, 4), persistent=False)
        self.register_buffer("kept", torch.arange(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fixed + self.kept  # type: ignore[operator]


class Tied(nn.Module):
    """One weight in two layers, one layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.last.weight = self.first.weight
        self.again = self.last

    def forward(self, x: Tensor) -> Tensor:
        return self.again(torch.relu(self.last(torch.relu(self.first(x)))))


class Loads(nn.Linear):
    """Changes what it loads."""

    def __init__(self) -> None:
        super().__init__(4, 4)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict = {**state_dict, f"{prefix}bias": 2 * state_dict[f"{prefix}bias"]}
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Beside(nn.Module):
    """Keeps a layer where no copy of layers finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.beside = [self.layer]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.beside[0](x)
        return found


class Copies(nn.Linear):
    """Makes its copies itself."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.copied = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Copies:
        made = Copies()
        made.weight, made.bias = memo[id(self.weight)], memo[id(self.bias)]
        made.copied = self.copied + 1
        return made


class Counts(nn.Module):
    """Changes what it holds beside its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 4), [0]

    def forward(self, x: Tensor) -> Tensor:
        self.seen[0] += 1
        found: Tensor = self.layer(x) * self.seen[0]
        return found


def beside() -> nn.Module:
    return Beside()


def copies() -> nn.Module:
    return nn.Sequential(Copies())


def counts() -> nn.Module:
    return Counts()


def attention() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)


def plain() -> nn.Module:
    MADE[0] += 1
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4), Grid())


def tied() -> nn.Module:
    return Tied()


def alone() -> nn.Module:
    return nn.BatchNorm1d(4)


def loads() -> nn.Module:
    return nn.Sequential(Loads())


def same(module: nn.Module) -> nn.Module:
    return module


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.models.networks.torch_models.not_allowed", lambda module: "")
    monkeypatch.setattr("thalweg.models.networks.torch_models.from_elsewhere", lambda factory: "")
    monkeypatch.setattr(architectures, "_KNOWN", type(architectures._KNOWN)())


def state(made: nn.Module, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    arrays = {name: each.numpy() for name, each in made.state_dict().items()}
    drawn = {
        name: np.asarray(generator.random(each.shape) + 0.5 + seed).astype(each.dtype) for name, each in arrays.items()
    }
    if "last.weight" in drawn:
        drawn["last.weight"] = drawn["again.weight"] = drawn["first.weight"]
        drawn["again.bias"] = drawn["last.bias"]
    return drawn


@pytest.mark.parametrize("factory", [plain, tied, alone, loads, beside, copies, counts, attention])
@pytest.mark.parametrize("prepare", [same, replace_batch_norms])
def test_it_computes_what_a_loaded_one_computes(
    factory: Callable[[], nn.Module], prepare: Callable[[nn.Module], nn.Module]
) -> None:
    name, x = f"{HERE}:{factory.__name__}", torch.rand(5, 4)
    found = []
    for seed in range(3):
        loaded = prepare(build(name)).eval()
        arrays = state(loaded, seed)
        loaded.load_state_dict({key: torch.from_numpy(each.copy()) for key, each in arrays.items()})
        for layer in loaded.modules():
            if hasattr(layer, "own"):
                layer.own = 0.0
        made = filled(name, prepare, arrays)
        for layer in made.modules():
            if hasattr(layer, "own"):
                layer.own = 0.0
        found.append((made, loaded(x)))
        assert not made.training
        assert made.state_dict().keys() == loaded.state_dict().keys()

    for made, wanted in found:  # one does not change another
        assert torch.equal(made(x), wanted)


def test_a_factory_is_asked_once() -> None:
    name = f"{HERE}:plain"
    arrays = state(replace_batch_norms(build(name)), 1)
    MADE[0] = 0

    for _ in range(3):
        filled(name, replace_batch_norms, arrays)

    assert MADE[0] == 1


def test_the_arrays_are_copied() -> None:
    name = f"{HERE}:plain"
    arrays = state(replace_batch_norms(build(name)), 1)
    for each in arrays.values():
        each.flags.writeable = False
    made = filled(name, replace_batch_norms, arrays)
    before = arrays["0.weight"].copy()

    with torch.no_grad():
        made[0].weight.add_(1)  # type: ignore[index, union-attr, operator]

    np.testing.assert_array_equal(arrays["0.weight"], before)


@pytest.mark.parametrize("change", ["missing", "another", "shape"])
def test_a_state_of_another_network_is_refused_by_name(change: str) -> None:
    name = f"{HERE}:plain"
    arrays = state(replace_batch_norms(build(name)), 1)
    if change == "missing":
        del arrays["3.weight"]
    elif change == "another":
        arrays["3.weight_more"] = np.zeros(2, dtype=np.float32)
    else:
        arrays["3.weight"] = arrays["3.weight"][:2]

    with pytest.raises(RuntimeError, match=r"got others: 3\.weight"):
        filled(name, replace_batch_norms, arrays)


def test_a_factory_that_is_not_there_is_refused_as_ever() -> None:
    with pytest.raises(ParamsError):
        filled(f"{HERE}:absent", same, {})


def test_few_architectures_are_kept() -> None:
    name = f"{HERE}:plain"
    arrays = state(replace_batch_norms(build(name)), 1)
    for number in range(2 * architectures._MOST):
        filled(name, lambda module, _=number: replace_batch_norms(module), arrays)  # type: ignore[misc]

    assert len(architectures._KNOWN) == architectures._MOST


def test_layers_copy_themselves_where_they_say_how() -> None:
    name = f"{HERE}:copies"

    made = filled(name, same, state(build(name), 1))

    assert made[0].copied == 1  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    ("factory", "plainly"), [(plain, True), (tied, True), (counts, True), (beside, False), (copies, False)]
)
def test_what_is_no_plain_layer_is_copied_deeply(factory: Callable[[], nn.Module], plainly: bool) -> None:
    made = replace_batch_norms(build(f"{HERE}:{factory.__name__}"))

    assert architectures._Empty(made)._is_plain == plainly
