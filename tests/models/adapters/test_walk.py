"""An estimator's state: everything that it is made of, and nothing that could run."""

from __future__ import annotations

import math
import random
import struct
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from enum import Enum
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.snapshots.state import State
from thalweg.models.adapters.allowed import Allowed, NotStorable
from thalweg.models.adapters.rebuild import rebuild
from thalweg.models.adapters.walk import TABLE, walk

ALLOWED = Allowed(["tests", "river"])
Pair = namedtuple("Pair", "left right")


class Colour(Enum):
    RED = "r"


class Part:
    """An object as a library has them."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes

    def method(self) -> str:
        return "called"


class Slotted:
    __slots__ = ("__own", "empty", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.__own = -1

    @property
    def own(self) -> int:
        return self.__own


class Names(dict[str, int]):
    """A dictionary with an attribute."""

    more = 0


def called() -> str:
    return "called"


def again(thing: Any) -> Any:
    state = walk(thing, ALLOWED)
    made = rebuild(state, ALLOWED)
    assert walk(made, ALLOWED).sha256() == state.sha256()
    return made


_FLOATS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**200), 2**200), _FLOATS, st.text(st.characters()), st.binary(max_size=9)
)
_KEYS = st.one_of(st.text(max_size=3), st.integers(), st.tuples(st.integers(), st.text(max_size=2)))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(_KEYS, inner, max_size=4),
        st.sets(_KEYS, max_size=4),
        st.frozensets(_KEYS, max_size=4),
        st.lists(inner, max_size=3).map(deque),
    ),
    max_leaves=20,
)


def bits(value: Any) -> Any:
    """The same value with floats as their bits, so that NaN equals itself and 0.0 not -0.0."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, (list, tuple, deque)):
        return type(value).__name__, [bits(one) for one in value]
    if isinstance(value, dict):
        return [(bits(key), bits(one)) for key, one in value.items()]
    return type(value).__name__, value


@given(_VALUES)
def test_values_come_back_with_their_bits_types_and_order(value: Any) -> None:
    assert bits(again(value)) == bits(value)


def test_an_object_that_is_reached_twice_is_one_again_and_circles_close() -> None:
    shared = Part(x=[1.0])
    root = Part(first=shared, second=(shared, shared.x))
    shared.parent = root  # type: ignore[attr-defined]

    made = again(root)

    assert made.first is made.second[0]
    assert made.second[1] is made.first.x
    assert made.first.parent is made


def test_a_chain_of_objects_may_be_longer_than_the_stack() -> None:
    chain = last = Part()
    for _ in range(20_000):
        last.next = last = Part()  # type: ignore[attr-defined]

    made, count = again(chain), 0
    while made := getattr(made, "next", None):
        count += 1
    assert count == 20_000


def test_containers_keep_their_kind_and_what_they_do() -> None:
    counts = Counter("abca")
    ordered = OrderedDict([("z", 1), ("a", 2)])
    made = again([defaultdict(list, a=[1]), deque([1, 2], maxlen=2), counts, ordered, Pair(1, [2]), Names(a=1)])

    made[0]["new"].append(1)
    made[1].append(3)
    assert made[0] == {"a": [1], "new": [1]}
    assert made[1] == deque([2, 3])
    assert (type(made[2]), made[2]["missing"]) == (Counter, 0)
    assert list(made[3]) == ["z", "a"]
    assert (type(made[4]), made[4].right) == (Pair, [2])
    assert (type(made[5]), made[5]) == (Names, {"a": 1})


def test_slots_enumerations_functions_and_methods_come_back() -> None:
    part = Part(x=3)
    part.method_of = part.method  # type: ignore[attr-defined]
    made = again([Slotted([1]), Colour.RED, called, partial(math.pow, 2.0), part, str.lower, Part])

    assert (made[0].value, made[0].own, hasattr(made[0], "empty")) == ([1], -1, False)
    assert made[1] is Colour.RED
    assert made[2] is called
    assert made[3](3.0) == 8.0
    assert made[4].method_of.__self__ is made[4]
    assert made[4].method_of() == "called"
    assert made[5] is str.lower
    assert made[6] is Part


def test_generators_of_random_numbers_go_on_where_they_were() -> None:
    made_by = random.Random(1)
    old, new = np.random.RandomState(2), np.random.default_rng(3)
    made_by.gauss(0, 1), old.standard_normal(3), new.standard_normal(3)

    one, two, three = again([made_by, old, new])

    assert [one.gauss(0, 1), one.random()] == [made_by.gauss(0, 1), made_by.random()]
    assert two.standard_normal(4).tolist() == old.standard_normal(4).tolist()
    assert three.standard_normal(4).tolist() == new.standard_normal(4).tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([np.nan, -0.0, np.inf]),
        np.zeros((0, 3), np.int32),
        np.array(2.5),
        np.array(["ab", "c"]),
        np.array([{"a": 1}, None, (1, 2)], object),
        np.arange(12)[::2],
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_with_their_dtype_shape_and_layout(array: Any) -> None:
    made = again(array)

    np.testing.assert_array_equal(made, array)
    assert (made.dtype, made.shape) == (array.dtype, array.shape)
    assert made.flags.c_contiguous or not array.flags.c_contiguous
    assert made.flags.f_contiguous or not array.flags.f_contiguous
    assert made.flags.writeable


def test_a_scalar_of_numpy_stays_one() -> None:
    for scalar in (np.float64("nan"), np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("ä")):
        made = again([scalar])[0]
        assert type(made) is type(scalar)
        assert made.tobytes() == scalar.tobytes()


def test_a_state_is_the_same_whatever_the_order_in_which_a_set_was_filled() -> None:
    forward, backward = set(map(str, range(99))), set(map(str, reversed(range(99))))

    assert walk([forward], ALLOWED).sha256() == walk([backward], ALLOWED).sha256()


# What cannot be stored is named


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Part(steps=[Part(func=lambda x: x)]), r"^steps\[\]\.func: cannot be stored: .*<lambda>.* top of a module$"),
        (Part(table={"key": iter([1])}), r"^table\['key'\]: cannot be stored: a builtins\.list_iterator"),
        (
            Part(loader=random.SystemRandom()),
            r"^loader: cannot be stored: a random\.SystemRandom, which does not belong",
        ),
        (Part(run=__import__("os").system), r"^run: cannot be stored: posix\.system, which does not belong to tests"),
        (Part(one=np.zeros(3, "datetime64[s]")), r"^one: cannot be stored: an array of dtype datetime64"),
        (Part(file=__import__("io").StringIO()), r"^file: cannot be stored: a _io\.StringIO"),
    ],
    ids=["lambda", "iterator", "class", "function", "dtype", "file"],
)
def test_what_cannot_be_stored_is_refused_by_the_path_of_its_attribute(thing: Any, message: str) -> None:
    with pytest.raises(NotStorable, match=message):
        walk(thing, ALLOWED)


def test_two_arrays_in_the_same_memory_are_refused() -> None:
    whole = np.arange(4.0)

    with pytest.raises(NotStorable, match=r"^part: cannot be stored: an array that shares its memory"):
        walk(Part(whole=whole, part=whole[1:]), ALLOWED)


# A file that somebody has changed runs nothing


def forged(told: Any, shapes: list[Any], rows: list[Any]) -> State:
    return State({TABLE: np.frombuffer(msgspec.json.encode([told, shapes, rows]), np.uint8)})


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:eval", "builtins:exec", "builtins:__import__", "subprocess:Popen", "numpy:load"]
)
def test_a_state_names_only_what_belongs_to_its_packages(name: str) -> None:
    for state in (
        forged(["c", name], [], []),
        forged([0], [["object", name, []]], [[0]]),
        forged([0], [["made", name, []]], [[0, [1], None], [0]]),
    ):
        with pytest.raises(ValueError, match="does not belong"):
            rebuild(state, ALLOWED)


def test_a_state_makes_no_object_by_a_constructor_of_python_code() -> None:
    name = f"{__name__}:Part"
    with pytest.raises(ValueError, match="as a class of compiled code, which it is not"):
        rebuild(forged([0], [["made", name, []], ["list", "", []]], [[0, [1], None], [1]]), ALLOWED)


@pytest.mark.parametrize("text", [b"", b"[", b"[1]", b"[[9],[],[]]", b'[["?"],[],[]]', b'[[0],[["what","",[]]],[[0]]]'])
def test_what_is_no_state_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not the state of an estimator"):
        rebuild(State({TABLE: np.frombuffer(text, np.uint8)}), ALLOWED)
