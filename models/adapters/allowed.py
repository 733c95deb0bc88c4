"""Which classes and functions may stand in a stored estimator: those of its packages, and a few that only compute.

A state names them as `module:name`. Whatever else a file names is refused before it is imported.
"""

from __future__ import annotations

import collections
import sys
import types
from collections.abc import Iterable
from importlib import import_module
from importlib.machinery import ExtensionFileLoader
from typing import Any, Literal, TypeAlias

import numpy as np

_COMPUTING = {
    "builtins": "abs all any bool bytes complex dict float frozenset int len list max min object range round set sorted"
    " str sum tuple",
    "collections": "Counter OrderedDict defaultdict deque",
    "copy": "copy deepcopy",
    "functools": "partial",
    "math": "ceil cos exp fabs floor isfinite isinf isnan log log10 log1p log2 pow sin sqrt tan tanh",
    "numpy": "argmax argmin array clip eye full max mean median min ones std sum var zeros",
    "operator": "add eq ge gt le lt mul ne neg not_ sub truediv",
    "statistics": "NormalDist fmean mean median mode stdev variance",
}
"""Functions and classes of other modules that compute, and do nothing else."""
_FUNCTIONS = {module: set(names.split()) for module, names in _COMPUTING.items()}
_FUNCTIONS["numpy"] |= {name for name, thing in vars(np).items() if isinstance(thing, np.ufunc)}
_TOLD_ELSEWHERE = {"_operator": "operator", "_collections": "collections"}
_PLAIN = {
    object,
    dict,
    list,
    tuple,
    set,
    frozenset,
    *(getattr(collections, name) for name in _FUNCTIONS["collections"]),
}
_ABSTRACT = {"abc", "typing", "collections", "collections.abc"}

_FUNCTION = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc)
_PLAIN_OBJECTS = {"statistics.NormalDist"}
"""Classes of the standard library that are the sum of their attributes."""

Kind: TypeAlias = Literal["python", "extension"]


class NotStorable(ValueError):
    """Part of an estimator cannot be stored; the message names its path, and what stands there."""


class Allowed:
    """The classes and functions of some packages.

    Args:
        packages: Names of packages, such as `river`; all of their modules belong to them.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = tuple(dict.fromkeys(packages))
        self._found: dict[str, Any] = {}
        self._kinds: dict[type, Kind] = {}

    def name(self, thing: Any) -> str | None:
        """The name under which a class or function is found again; None if it may not stand in a state.

        A lambda, or a function within a function, has no name of its own.
        """
        module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
        if isinstance(thing, np.ufunc):
            module, qualname = "numpy", thing.__name__
        elif isinstance(thing, types.MethodDescriptorType):  # such as str.lower
            module = thing.__objclass__.__module__
        if not isinstance(module, str) or not isinstance(qualname, str):
            return None
        name = f"{_TOLD_ELSEWHERE.get(module, module)}:{qualname}"
        try:
            return name if self.find(name) is thing else None
        except ValueError:
            return None

    def find(self, name: str) -> Any:
        """The class or function of a name.

        Raises:
            ValueError: It may not stand in a state, or is not there.
        """
        if name not in self._found:
            module, _, qualname = name.partition(":")
            of_text = module == "builtins" and qualname.partition(".")[0] in ("str", "bytes")
            if not self._belongs(module) and not of_text and qualname not in _FUNCTIONS.get(module, ()):
                raise ValueError(f"{name} does not belong to {', '.join(self.packages)}")
            try:
                found: Any = import_module(module)
                for part in qualname.split("."):
                    found = getattr(found, part)
            except (ImportError, AttributeError) as error:
                raise ValueError(f"{name} cannot be imported: {error}") from error
            # a function of compiled code has a type of its own
            if not isinstance(found, _FUNCTION) and not (self._belongs(module) and callable(found)):
                raise ValueError(f"{name} is neither a class nor a function")
            self._found[name] = found
        return self._found[name]

    def kind(self, cls: type) -> Kind:
        """How instances of a class are stored: by their attributes, or, of compiled code, by the record they give.

        Raises:
            NotStorable: They cannot be.
        """
        if cls not in self._kinds:
            self._kinds[cls] = self._kind(cls)
        return self._kinds[cls]

    def _kind(self, cls: type) -> Kind:
        full = f"{cls.__module__}.{cls.__qualname__}"
        if full in _PLAIN_OBJECTS:
            return "python"
        if not self._belongs(cls.__module__):
            raise NotStorable(f"a {full}, which does not belong to {', '.join(self.packages)}")
        if self.name(cls) is None:
            raise NotStorable(f"a {full}, a class that its module does not know by this name")
        if _compiled(cls):
            return "extension"
        for base in cls.__mro__:
            plain = base in _PLAIN or base.__module__ in _ABSTRACT
            if not plain and (not self._belongs(base.__module__) or _compiled(base)):
                raise NotStorable(f"a {full}, which inherits from {base.__module__}.{base.__qualname__}")
        return "python"

    def _belongs(self, module: str) -> bool:
        return module.partition(".")[0] in self.packages


def _compiled(cls: type) -> bool:
    """Whether a class is of compiled code: then its attributes are not all there is of its instances."""
    spec = getattr(sys.modules.get(cls.__module__), "__spec__", None)
    # a module within an extension has no spec
    return isinstance(spec.loader, ExtensionFileLoader) if spec is not None else cls.__module__ != "__main__"
