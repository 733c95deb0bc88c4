"""Networks of a known architecture, filled with the tensors of a saved state.

A factory draws first weights, which for a network of some size takes most of the time that a new version takes, and
they are overwritten at once. So each is made once in a process; what is kept of it is its layers without their tensors.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from thalweg.models.networks.torch_models import build
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.proto.schema import Array

Prepare = Callable[[torch.nn.Module], torch.nn.Module]
_MOST = 8
_SIMPLE = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type,
    torch.dtype,
    torch.device,
    FunctionType,
    BuiltinFunctionType,
)
_COPYING = ("__deepcopy__", "__copy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")

_KNOWN: OrderedDict[tuple[str, Prepare], _Empty] = OrderedDict()
_MAKING = threading.Lock()


def filled(model: str, prepare: Prepare, arrays: Mapping[str, Array]) -> torch.nn.Module:
    """A network with these tensors, copied, in eval mode.

    Args:
        model: As of `build`.
        prepare: Changes what the factory makes, always alike.
        arrays: The tensors of its state dict, by name.

    Raises:
        ParamsError: As of `build`.
        RuntimeError: The names or shapes are not those of the network.
    """
    key = (model, prepare)
    with _MAKING:
        if key not in _KNOWN:
            _KNOWN[key] = _Empty(prepare(build(model, filled_later=True)))
            if len(_KNOWN) > _MOST:
                _KNOWN.popitem(last=False)
        _KNOWN.move_to_end(key)
        empty = _KNOWN[key]
    return empty.filled(arrays)


class _Empty:
    """A network whose tensors are shapes alone; those that no state holds are kept."""

    def __init__(self, made: torch.nn.Module) -> None:
        self._made = made.eval()
        self._loads_itself = any(map(_loads_itself, made.modules()))
        self._shapes: dict[str, Tensor] = {}
        if self._loads_itself:
            return
        given: dict[int, tuple[Tensor, Tensor]] = {}  # by id, which stays that of one tensor while it is kept here

        def shape_of(tensor: Tensor) -> Tensor:
            if id(tensor) not in given:
                empty = torch.empty_like(tensor, device="meta", requires_grad=False)
                shape = torch.nn.Parameter(empty, False) if isinstance(tensor, torch.nn.Parameter) else empty
                given[id(tensor)], given[id(shape)] = (shape, tensor), (shape, shape)
            return given[id(tensor)][0]

        for prefix, module in made.named_modules(remove_duplicate=False):  # a layer used twice has two names
            kept = {name: each for name, each in module._parameters.items() if each is not None}
            for name, parameter in kept.items():
                module._parameters[name] = self._shapes[f"{prefix}.{name}".lstrip(".")] = shape_of(parameter)
            for name, buffer in module._buffers.items():
                if buffer is not None and name not in module._non_persistent_buffers_set:
                    module._buffers[name] = self._shapes[f"{prefix}.{name}".lstrip(".")] = shape_of(buffer)
        self._is_plain = all(map(_is_plain, made.modules()))

    def filled(self, arrays: Mapping[str, Array]) -> torch.nn.Module:
        """A copy with these tensors."""
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        if self._loads_itself:
            made = copy.deepcopy(self._made)
            made.load_state_dict(tensors)
            return made
        wanted = {name: tuple(shape.shape) for name, shape in self._shapes.items()}
        if (got := {name: tuple(each.shape) for name, each in tensors.items()}) != wanted:
            differing = sorted({name for name, _ in wanted.items() ^ got.items()})
            raise RuntimeError(f"expected the tensors of the network, got others: {', '.join(differing[:5])}")
        places: dict[int, object] = {}  # what takes the place of each shape in a deep copy
        for name, shape in self._shapes.items():
            tensor = tensors[name].to(shape.dtype)
            places[id(shape)] = torch.nn.Parameter(tensor, False) if isinstance(shape, torch.nn.Parameter) else tensor
        return _copied(self._made, places, {}) if self._is_plain else copy.deepcopy(self._made, places)


def _copied(
    module: torch.nn.Module, places: Mapping[int, object], known: dict[int, torch.nn.Module]
) -> torch.nn.Module:
    """As a deep copy, a tenth of its time: layer by layer, of which every one is plain."""
    if id(module) in known:
        return known[id(module)]
    made = known[id(module)] = type(module).__new__(type(module))
    for name, value in vars(module).items():
        made.__dict__[name] = value.copy() if isinstance(value, (dict, list, set)) else value
    for name, part in module._modules.items():
        made._modules[name] = None if part is None else _copied(part, places, known)
    kept: Any
    for kept in (made._parameters, made._buffers):
        for name, each in kept.items():
            if each is not None:
                kept[name] = places[id(each)] if id(each) in places else each.clone()  # what no state holds
    return made


def _is_plain(module: torch.nn.Module) -> bool:
    """Whether a layer consists of its tensors, its parts and simple values, and makes no copies of its own."""
    if any(_is_own(getattr(type(module), name, None), name) for name in _COPYING):
        return False
    kept = {"_parameters", "_buffers", "_modules"}
    return all(_is_simple(value) for name, value in vars(module).items() if name not in kept)


def _is_own(method: object, name: str) -> bool:
    """Whether a method of a class is neither Python's nor torch's."""
    if method is None or method is getattr(object, name, None):
        return False
    return not str(getattr(method, "__module__", "")).startswith("torch.")


def _is_simple(value: object) -> bool:
    if isinstance(value, (dict, list, set, tuple)):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return all(isinstance(part, _SIMPLE) for part in parts)
    return isinstance(value, _SIMPLE)


def _loads_itself(module: torch.nn.Module) -> bool:
    """Whether tensors of a state are changed, or others set, when it loads them."""
    kind = type(module)
    return bool(
        kind._load_from_state_dict is not torch.nn.Module._load_from_state_dict
        or kind.set_extra_state is not torch.nn.Module.set_extra_state
        or kind.load_state_dict is not torch.nn.Module.load_state_dict
        or module._load_state_dict_pre_hooks
        or module._load_state_dict_post_hooks
    )
