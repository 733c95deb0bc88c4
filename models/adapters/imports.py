"""Import paths of estimators: what stands there, or what could not be imported and the nearest name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

from thalweg.models.contract.learner import ParamsError
from thalweg.models.contract.registry import UnknownLearner
from thalweg.models.parts.user_modules import from_elsewhere, not_allowed, taken_name, where_looked

CLASS = "class"
"""The key of a table in `[model.params]` that is an object of this class; its other keys are the arguments."""


def imported(learner: str, path: str) -> Any:
    """A class, a factory function or an object by its import path, such as `river.tree.HoeffdingTreeClassifier`.

    Args:
        learner: The learner's name, for messages.
        path: Modules and names, joined by dots.

    Raises:
        UnknownLearner: It is not there, or cannot be imported; the message names the part, and the nearest name.
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UnknownLearner(f"learner {learner!r}: expected an import path such as package.module.Name, got {path!r}")
    if why := not_allowed(".".join(parts[:-1])):
        raise UnknownLearner(f"learner {learner!r}: {why}")
    module, rest = _module(learner, parts)
    found: Any = module
    for done, part in enumerate(rest, len(parts) - len(rest)):
        if not hasattr(found, part):
            where = ".".join(parts[:done])
            near = get_close_matches(part, [name for name in dir(found) if not name.startswith("_")], n=1)
            hint = f"; did you mean {where}.{near[0]}?" if near else ""
            raise UnknownLearner(f"learner {learner!r}: {where} has no {part!r}{hint}{taken_name(parts[0])}")
        found = getattr(found, part)
    if isinstance(found, ModuleType):
        raise UnknownLearner(f"learner {learner!r}: expected a class, a factory or an object, got the module {path}")
    if why := from_elsewhere(found):
        raise UnknownLearner(f"learner {learner!r}: {why}")
    return found


def _module(learner: str, parts: list[str]) -> tuple[ModuleType, list[str]]:
    """The longest module of a path, and the names that remain."""
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        try:
            return import_module(name), parts[count:]
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise UnknownLearner(f"learner {learner!r}: {name} cannot be imported: {error}") from error
        except Exception as error:  # a module of the user's own may raise whatever it likes
            problem = f"{type(error).__name__}: {error}"
            raise UnknownLearner(f"learner {learner!r}: {name} cannot be imported: {problem}") from error
    extra = "; it comes with the extra sklearn: pip install 'thalweg[sklearn]'" if parts[0] == "sklearn" else ""
    raise UnknownLearner(
        f"learner {learner!r}: there is no module {parts[0]!r} on the import path{where_looked()}{extra}"
    )


def made(learner: str, target: Any, params: Mapping[str, Any], seed: int, seed_name: str) -> Any:
    """An object of a class, the result of a factory, or the object itself.

    Args:
        learner: The learner's name, for messages.
        target: What its import path leads to.
        params: Arguments as configured.
        seed: Given as `seed_name` to what takes it, unless `params` has it.
        seed_name: `seed`, or `random_state`.

    Raises:
        ParamsError: Arguments are unknown or missing.
        ValueError: It refuses them; the message is its own.
    """
    if not (inspect.isroutine(target) or isinstance(target, type)):
        if params:
            raise ParamsError(
                dict.fromkeys(params, "no such key: the import path leads to an object that is made already")
            )
        return target
    known = inspect.signature(target).parameters
    named = [name for name, one in known.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    any_name = any(one.kind is one.VAR_KEYWORD for one in known.values())
    mistakes = {}
    for name in params:
        if name not in named and not any_name:
            near = get_close_matches(name, named, n=1)
            mistakes[name] = "no such key" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(named)}")
    for name in named:
        if name not in params and known[name].default is inspect.Parameter.empty and name != seed_name:
            mistakes[name] = "missing; it has no default"
    arguments = {}
    for name, value in params.items():
        if name not in mistakes:
            try:
                arguments[name] = _argument(learner, value)
            except (UnknownLearner, ParamsError) as error:
                mistakes[name] = str(error)
    if mistakes:
        raise ParamsError(mistakes)
    if seed_name in named:
        arguments.setdefault(seed_name, seed)
    try:
        return target(**arguments)
    except Exception as error:
        raise ValueError(f"learner {learner!r}: cannot be made: {type(error).__name__}: {error}") from error


def _argument(learner: str, value: Any) -> Any:
    """An argument as configured; a table with the key `class` is an object."""
    if isinstance(value, Mapping) and CLASS in value:
        rest = {name: one for name, one in value.items() if name != CLASS}
        return made(learner, imported(learner, str(value[CLASS])), rest, 0, "")
    if isinstance(value, Mapping):
        return {key: _argument(learner, one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_argument(learner, one) for one in value]
    return value
