"""An estimator from its walked state: the objects of `walk`, made again."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from typing import Any

import msgspec
import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.walk import TABLE

_NEW: dict[str, type] = {
    "list": list,
    "dict": dict,
    "set": set,
    "ordered": OrderedDict,
    "counter": Counter,
    "default": defaultdict,
}
_FIRST = {"list", "object", "objects", "tuple"}  # filled before what hashes its entries


def rebuild(state: State, allowed: Allowed) -> Any:
    """The object whose `walk` this is; nothing in it is shared with the state.

    Raises:
        ValueError: The state is not one, or names what does not belong to the packages.
    """
    try:
        return _Rebuild(state, allowed).root()
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"this is not the state of an estimator: {type(error).__name__}: {error}") from error


class _Rebuild:
    def __init__(self, state: State, allowed: Allowed) -> None:
        self._allowed = allowed
        self._arrays = state.tensors
        self._told, shapes, self._rows = msgspec.json.decode(state.tensors[TABLE].tobytes())
        self._shapes = [(kind, self._class(kind, cls), names) for kind, cls, names in shapes]
        self._things: list[Any] = [None] * len(self._rows)
        self._made = [False] * len(self._rows)
        self._unseeded = random.Random(0)

    def root(self) -> Any:
        for row in range(len(self._rows)):
            self._thing(row)
        later = []
        for row, (shape, *values) in enumerate(self._rows):
            kind = self._shapes[shape][0]
            if kind in _FIRST:
                self._fill(row, shape, values)
            elif kind in _NEW or kind in ("deque", "generator"):
                later.append((row, shape, values))
        for row, shape, values in sorted(later, key=lambda one: self._shapes[one[1]][0] == "generator"):
            self._fill(row, shape, values)
        return self._value(self._told)

    def _class(self, kind: str, name: str) -> Any:
        if not name:
            return _NEW.get(kind)
        found = self._allowed.find(name)
        if kind in ("new", "made"):
            of_class = isinstance(found, type) and self._allowed.kind(found) == "extension"
            if not of_class and not name.partition(":")[2].startswith("__pyx_unpickle_"):
                raise ValueError(f"it names {name} as a class of compiled code, which it is not")
        elif not isinstance(found, type) or self._allowed.kind(found) != "python":
            raise ValueError(f"it names {name} as a class, which it is not")
        return found

    # Values

    def _value(self, told: Any) -> Any:
        if type(told) is not list:
            return told
        first = told[0]
        if type(first) is int:
            return self._thing(first)
        if first == "t":
            return tuple(map(self._value, told[1:]))
        if first == "f":
            return float(np.frombuffer(bytes.fromhex(told[1]), np.float64)[0])
        if first == "i":
            return int(told[1], 16)
        if first == "s":
            return bytes.fromhex(told[1]).decode("utf-8", "surrogatepass")
        if first == "b":
            return bytes.fromhex(told[1])
        if first == "z":
            return frozenset(map(self._value, told[1:]))
        if first == "q":
            return complex(self._value(told[1]), self._value(told[2]))
        if first == "n":
            return np.frombuffer(bytes.fromhex(told[2]), told[1])[0]
        if first == "p":
            keywords = {name: self._value(given) for name, given in told[3].items()}
            return partial(self._value(told[1]), *map(self._value, told[2]), **keywords)
        if first == "m":
            return getattr(self._value(told[1]), told[2])
        if first == "e":
            return self._allowed.find(told[1])[told[2]]
        if first == "c":
            return self._allowed.find(told[1])
        if first == "r":
            return self._unseeded
        raise ValueError(f"it holds {first!r}")

    # Objects: first all of them, empty, then what is in them

    def _thing(self, row: int) -> Any:
        if not self._made[row]:
            shape, *values = self._rows[row]
            kind, cls, names = self._shapes[shape]
            self._things[row] = self._new(row, kind, cls, names, values)
            self._made[row] = True
        return self._things[row]

    def _new(self, row: int, kind: str, cls: Any, names: list[str], values: list[Any]) -> Any:
        if kind == "deque":
            most = values[len(names)]
            made = deque(maxlen=most) if cls is None else cls.__new__(cls)
            if cls is not None:
                deque.__init__(made, (), most)
            return made
        if kind in _NEW:
            return cls.__new__(cls)
        if kind == "object":
            return object.__new__(cls)
        if kind == "tuple":
            return tuple.__new__(cls, map(self._value, values[len(names) :]))
        if kind in ("new", "made"):
            return self._compiled(kind, cls, values)
        return self._data(kind, values)

    def _data(self, kind: str, values: list[Any]) -> Any:
        """Arrays and generators of random numbers."""
        if kind == "array":
            array = self._arrays[values[0]]
            return np.array(array.T if values[1] else array, order="F" if values[1] else "C")
        if kind == "objects":
            return np.empty(values[0], object)
        if kind == "texts":
            return np.array([self._value(value) for value in values[2:]], values[0]).reshape(values[1])
        if kind == "random":
            generator = random.Random()
            words = tuple(self._arrays[values[1]].tolist())
            generator.setstate((values[0], words, self._value(values[2])))
            return generator
        if kind == "random_state":
            old = np.random.RandomState()
            old.set_state(("MT19937", self._arrays[values[0]], *map(self._value, values[1:])))
            return old
        if kind == "generator":
            if values[0] not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
                raise ValueError(f"it names {values[0]} as a generator of random bits, which it is not")
            return np.random.Generator(getattr(np.random, values[0])())
        raise ValueError(f"it holds a {kind!r}")

    def _compiled(self, kind: str, cls: Any, values: list[Any]) -> Any:
        given, state = (self._whole(value) for value in values)
        made = cls.__new__(cls, *given) if kind == "new" else cls(*given)
        if state is not None:
            made.__setstate__(state)
        return made

    def _whole(self, told: Any) -> Any:
        """A value whose containers are filled at once: compiled code copies them."""
        if type(told) is list and type(told[0]) is int:
            shape, *values = self._rows[told[0]]
            if self._shapes[shape][0] in _NEW and not self._shapes[shape][2]:
                self._thing(told[0])
                for value in values:
                    self._whole(value)
                self._fill(told[0], shape, values)
        return self._value(told)

    def _fill(self, row: int, shape: int, values: list[Any]) -> None:
        kind, _, names = self._shapes[shape]
        thing = self._things[row]
        for name, told in zip(names, values):
            object.__setattr__(thing, name, self._value(told))
        entries = values[len(names) :]
        if kind == "list":
            list.__init__(thing, map(self._value, entries))
        elif kind == "objects":
            thing.reshape(-1)[:] = _objects([self._value(value) for value in entries[1:]])
        elif kind == "deque":
            thing.clear()
            thing.extend(map(self._value, entries[1:]))
        elif kind == "set":
            set.update(thing, map(self._value, entries))
        elif kind == "generator":
            thing.bit_generator.state = self._value(values[1])
        elif kind in _NEW:
            if kind == "default":
                thing.default_factory = self._value(entries[0])
                entries = entries[1:]
            for key, value in zip(entries[::2], entries[1::2]):
                (OrderedDict if kind == "ordered" else dict).__setitem__(thing, self._value(key), self._value(value))


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array
