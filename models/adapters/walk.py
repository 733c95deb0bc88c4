"""The state of an estimator: its objects, walked, as one JSON text and one tensor per array. No pickle.

The text is a table of objects. Numbers, texts and tuples stand where they are used; everything that can change is a
row of the table, so an object that is reached twice is stored once, and circles are no matter. In a row, `[7]` is the
object in row 7; every other list begins with a letter that says what it is:

    ["t", ...] tuple          ["f", hex] a float that is not finite      ["i", hex] an integer beyond 64 bits
    ["z", ...] frozenset      ["b", hex] bytes                           ["s", hex] a text that is not valid Unicode
    ["c", name] a class or function    ["m", object, name] its method    ["p", function, [...], {...}] partial
    ["e", name, member] Enum           ["n", dtype, hex] NumPy scalar    ["q", real, imaginary] complex
    ["r"] an unseeded generator of random numbers that learning never draws from

A row is `[shape, ...]`: the shapes are a table as well, of `[kind, class, attribute names]`; after the attributes come
a container's entries. Rows are in the order in which they are reached, dictionaries in their own, sets sorted: equal
estimators have equal states.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from enum import Enum
from functools import partial
from types import BuiltinMethodType, MethodType
from typing import Any

import msgspec
import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.adapters.allowed import Allowed, NotStorable
from thalweg.proto.schema import Array

TABLE = "objects"
"""The tensor with the JSON text."""
_SMALL = 1 << 63
_CONTAINERS: dict[type, str] = {
    list: "list",
    dict: "dict",
    set: "set",
    deque: "deque",
    OrderedDict: "ordered",
    Counter: "counter",
    defaultdict: "default",
}
_NOTHING: Mapping[str, Any] = {}
_FILLED = (defaultdict, Counter, OrderedDict, dict, list, deque, set)  # a subclass before its base


def walk(root: object, allowed: Allowed) -> State:
    """Everything that an object is made of.

    Args:
        root: The object; it is not changed.
        allowed: The classes and functions that may stand in it.

    Returns:
        The tensor `objects`, and `array.0`, `array.1` … in the order in which they are reached, as copies.

    Raises:
        NotStorable: Part of it cannot be stored; the message names its path.
    """
    return _Walk(allowed).all(root)


def objects(root: object, allowed: Allowed) -> list[Any]:
    """The objects that an object is made of, in the order of its state, itself included; raises as `walk`."""
    found = _Walk(allowed)
    found.all(root)
    return found.reached


class _Walk:
    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._rows: dict[int, int] = {}  # by identity
        self.reached: list[Any] = []  # also keeps them alive, so that an identity stays one
        self._parents: list[tuple[int, str]] = []  # from where a thing was reached first
        self._shapes: dict[tuple[str, str, tuple[str, ...]], int] = {}
        self._known: dict[type, tuple[str, list[str], type | None]] = {}
        self._names: dict[int, str] = {}  # of classes and functions, by identity
        self._arrays: dict[str, Array] = {}
        self._memory: list[Array] = []
        self._at = -1  # row whose parts are told at present …
        self._part = ""  # … and the part

    def all(self, root: object) -> State:
        told = self._told(root)
        rows: list[list[Any]] = []
        while len(rows) < len(self.reached):
            self._at, self._part = len(rows), ""
            rows.append(self._row(self.reached[self._at]))
        table = [told, [[kind, cls, list(names)] for kind, cls, names in self._shapes], rows]
        text = np.frombuffer(msgspec.json.encode(table), np.uint8)
        return State({TABLE: text, **self._arrays})

    # A value, where it is used

    def _told(self, value: Any) -> Any:
        cls = type(value)
        if cls is float:
            return value if value - value == 0.0 else ["f", np.float64(value).tobytes().hex()]
        if cls is str:
            return value if value.isascii() else _text(value)
        if value is None or cls is bool:
            return value
        if cls is int:
            return value if -_SMALL <= value < _SMALL else ["i", hex(value)]
        row = self._rows.get(id(value))
        if row is not None:
            return [row]
        return self._told_rarely(cls, value)

    def _told_rarely(self, cls: type, value: Any) -> Any:
        if cls in self._known or cls in _CONTAINERS or cls is np.ndarray:
            return self._new(value)
        if cls is tuple:
            return ["t", *map(self._told, value)]
        if cls is frozenset:
            return ["z", *self._sorted(value)]
        if cls is bytes:
            return ["b", value.hex()]
        if cls is complex:
            return ["q", self._told(value.real), self._told(value.imag)]
        if isinstance(value, np.generic):
            return self._scalar(value)
        if cls is partial:
            keywords = {name: self._told(given) for name, given in value.keywords.items()}
            return ["p", self._told(value.func), [self._told(given) for given in value.args], keywords]
        if cls is MethodType:
            return ["m", self._told(value.__self__), value.__func__.__name__]
        if isinstance(value, BuiltinMethodType) and not isinstance(value.__self__, (type(np), type(None))):
            return ["m", self._told(value.__self__), value.__name__]
        if isinstance(value, Enum):
            return ["e", self._named(cls), value.name]
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
            if id(value) not in self._names:
                self._names[id(value)] = self._named(value)  # it stays alive: its module knows it
            return ["c", self._names[id(value)]]
        return self._new(value)

    def _new(self, value: Any) -> list[int]:
        row = self._rows[id(value)] = len(self.reached)
        self.reached.append(value)
        self._parents.append((self._at, self._part))
        return [row]

    def _named(self, thing: Any) -> str:
        name = self._allowed.name(thing)
        if name is None:
            what = getattr(thing, "__qualname__", repr(thing))
            if "<" in what:
                raise self._refused(f"{what}, which has no name to be found again by: define it at the top of a module")
            packages = ", ".join(self._allowed.packages)
            raise self._refused(f"{thing.__module__}.{what}, which does not belong to {packages}")
        return name

    def _scalar(self, value: np.generic) -> list[str]:
        if value.dtype.kind not in "biufcSUMm":
            raise self._refused(f"a NumPy scalar of dtype {value.dtype}")
        return ["n", value.dtype.str, value.tobytes().hex()]

    def _sorted(self, values: Any) -> list[Any]:
        return sorted(map(self._told, values), key=msgspec.json.encode)

    # An object, as a row

    def _row(self, thing: Any) -> list[Any]:
        cls = type(thing)
        kind = _CONTAINERS.get(cls)
        if kind is not None:
            return [self._shape(kind, "", ()), *self._entries(kind, thing)]
        if cls is np.ndarray:
            return self._array(thing)
        if cls is random.Random:
            version, words, gauss = thing.getstate()
            name = self._stored(np.array(words, np.uint32))
            return [self._shape("random", "", ()), version, name, self._told(gauss)]
        if cls is np.random.RandomState:
            state: Any = thing.get_state(legacy=True)
            return [self._shape("random_state", "", ()), self._stored(state[1]), *map(self._told, state[2:])]
        if cls is np.random.Generator:
            inner = thing.bit_generator
            return [self._shape("generator", "", ()), type(inner).__name__, self._told(inner.state)]
        try:
            kind = self._allowed.kind(cls)
        except NotStorable as error:
            raise self._refused(str(error)) from None
        return self._compiled(cls, thing) if kind == "extension" else self._object(cls, thing)

    def _object(self, cls: type, thing: Any) -> list[Any]:
        full, slots, base = self._known.get(cls) or self._look_at(cls)
        attributes: Mapping[str, Any] = getattr(thing, "__dict__", _NOTHING)
        if slots:
            attributes = {**attributes, **{name: getattr(thing, name) for name in slots if hasattr(thing, name)}}
        values = []
        unseeded = cls.__module__.startswith("river.proba.") and attributes.get("seed", 0) is None
        for name, value in attributes.items():
            self._part = name
            # a distribution draws from this only when asked for a sample; without a seed it differs between two runs
            values.append(["r"] if unseeded and type(value) is random.Random else self._told(value))
        if base is tuple:
            self._part = "[]"
            kind, entries = "tuple", [self._told(value) for value in tuple.__iter__(thing)]
        elif base is not None:
            kind = _CONTAINERS[base]
            entries = list(self._entries(kind, thing))
        else:
            kind, entries = "object", []
        return [self._shape(kind, full, tuple(attributes)), *values, *entries]

    def _look_at(self, cls: type) -> tuple[str, list[str], type | None]:
        """Name, slots and container of a class."""
        if issubclass(cls, frozenset):
            raise self._refused(f"a {cls.__module__}.{cls.__qualname__}, a frozenset of its own kind")
        base = next((base for base in (*_FILLED, tuple) if issubclass(cls, base)), None)
        self._known[cls] = self._named(cls), _slots(cls), base
        return self._known[cls]

    def _entries(self, kind: str, thing: Any) -> list[Any]:
        if kind == "list":
            self._part = "[]"
            return [self._told(value) for value in list.__iter__(thing)]
        if kind == "deque":
            self._part = "[]"
            return [thing.maxlen, *map(self._told, thing)]
        if kind == "set":
            self._part = "{}"
            return self._sorted(set.__iter__(thing))
        told: list[Any] = [self._told(thing.default_factory)] if kind == "default" else []
        for key, value in dict.items(thing):
            self._part = f"[{key!r}]"
            told.append(self._told(key))
            told.append(self._told(value))
        return told

    def _compiled(self, cls: type, thing: Any) -> list[Any]:
        """An object of compiled code: what it gives to be made again, if that is data and classes of its packages."""
        try:
            made, given, *rest = thing.__reduce_ex__(2)
        except TypeError as error:
            raise self._refused(
                f"a {cls.__module__}.{cls.__qualname__}, which cannot say what it is: {error}"
            ) from None
        state = rest[0] if rest else None
        if any(part is not None for part in rest[1:]):
            raise self._refused(f"a {cls.__module__}.{cls.__qualname__}, which gives more than its state")
        if getattr(made, "__name__", "") == "__newobj__":
            made, given = given[0], given[1:]
            kind = "new"
        else:
            kind = "made"
        self._part = ""
        told = [self._told(list(given)), self._told(state)]
        return [self._shape(kind, self._named(made), ()), *told]

    def _shape(self, kind: str, cls: str, names: tuple[str, ...]) -> int:
        return self._shapes.setdefault((kind, cls, names), len(self._shapes))

    # Arrays

    def _array(self, array: Array) -> list[Any]:
        if array.dtype.kind == "O":
            self._part = "[]"
            return [self._shape("objects", "", ()), list(array.shape), *map(self._told, array.ravel().tolist())]
        if array.dtype.kind in "US":
            values = [self._told(value) for value in array.ravel().tolist()]
            return [self._shape("texts", "", ()), array.dtype.str, list(array.shape), *values]
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise self._refused(f"an array of dtype {array.dtype}")
        if array.base is not None:
            for other in self._memory:
                if np.shares_memory(array, other):
                    raise self._refused("an array that shares its memory with another one")
        self._memory.append(array)
        by_columns = array.flags.f_contiguous and not array.flags.c_contiguous
        return [self._shape("array", "", ()), self._stored(array.T if by_columns else array), by_columns]

    def _stored(self, array: Array) -> str:
        name = f"array.{len(self._arrays)}"
        self._arrays[name] = np.array(array, order="C")
        return name

    # Refusal

    def _refused(self, what: str) -> NotStorable:
        return NotStorable(f"{self._path()}: cannot be stored: {what}")

    def _path(self) -> str:
        parts = [self._part]
        row = self._at
        while row >= 0:
            row, part = self._parents[row]
            parts.append(part)
        path = "".join(part if part.startswith(("[", "{")) else f".{part}" for part in reversed(parts) if part)
        return path.removeprefix(".") or "the estimator"


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return ["s", value.encode("utf-8", "surrogatepass").hex()]
    return value


def _slots(cls: type) -> list[str]:
    names = []
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name not in ("__dict__", "__weakref__"):
                hidden = name.startswith("__") and not name.endswith("__")
                names.append(f"_{base.__name__.lstrip('_')}{name}" if hidden else name)
    return names
