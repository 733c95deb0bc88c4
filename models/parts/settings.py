"""Settings and hyper-parameters, declared: types, ranges and defaults on the fields, all mistakes found at once.

class Params(Settings):
    classes: Count
    \"\"\"Labels are 0 … classes - 1.\"\"\"

    rate: Positive = 0.1
    \"\"\"Step size of the means.\"\"\"

    @rule("rate", "classes")
    def _rate_fits_classes(self) -> str | None:
        return f"expected at most 1 / classes, got {self.rate}" if self.rate * self.classes > 1 else None

Params.of({"rate": -1})  # ParamsError: rate: expected above 0, got -1; classes: missing; it has no default
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic import create_model as subset_model
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from thalweg.models.contract.learner import ParamsError

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

Place = tuple[int | str, ...]
"""A place in a table: keys, and indices in lists."""
_Method = TypeVar("_Method", bound=Callable[..., Any])


def rule(*fields: str) -> Callable[[_Method], _Method]:
    """Mark a private method that checks these fields together and returns the mistake or None; reported for the first
    field.

    The method must read no other fields, because it also runs if others are invalid.
    """

    def mark(method: _Method) -> _Method:
        method.__dict__["fields"] = fields
        return method

    return mark


class Settings(BaseModel):
    """An immutable table of settings.

    Unknown keys are mistakes. An integer is accepted as a float; nothing else is converted; every number is finite.
    The docstring under a field is its description in the documentation and in the JSON Schema.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    not_yet: ClassVar[Mapping[str, str]] = {}
    """Notes on keys, and on values of keys, that this version does not support."""
    _rules: ClassVar[list[Callable[[Any], str | None]]] = []

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        private = [getattr(cls, name, None) for name in dir(cls) if name.startswith("_") and not name.startswith("__")]
        cls._rules = [method for method in private if callable(method) and hasattr(method, "fields")]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Validate a table.

        Raises:
            ParamsError: Keys are unknown or missing, or values invalid; all mistakes at once.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            texts: dict[str, list[str]] = {}
            for one in mistakes(cls, error):
                texts.setdefault(dotted(one.place), []).append(one.text)
            raise ParamsError({place: "; ".join(all_of_it) for place, all_of_it in texts.items()}) from None

    @model_validator(mode="wrap")
    @classmethod
    def _with_rules(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Validate, and run the rules, including those of valid fields if others are invalid."""
        before: list[ErrorDetails] = []
        partly = False
        try:
            made = handler(given)
        except ValidationError as error:
            if not isinstance(given, dict):
                raise
            before = error.errors(include_url=False)
            made, partly = cls._without([one["loc"] for one in before], given)
        broken = []
        for method in cls._rules:
            fields: tuple[str, ...] = method.__dict__["fields"]
            try:
                text = method(made) if made.__dict__.keys() >= set(fields) else None
            except AttributeError:  # it looks at a key of a table within, which is invalid itself
                if not partly:
                    raise
                continue
            if text:
                broken.append(InitErrorDetails(type=_custom(text), loc=(fields[0],), input=given))
        if before or broken:
            raise ValidationError.from_exception_data(cls.__name__, [*map(_again, before), *broken])
        return made

    @classmethod
    def _without(cls, places: list[Place], given: dict[str, Any]) -> tuple[Self, bool]:
        """An instance with only the valid fields of a table, converted, for the rules; and whether it holds tables
        whose fields are not all valid: those are there with the others.
        """
        wrong = {str(place[0]) for place in places}
        fields: dict[str, Any] = {
            key: (field.annotation, field) for key, field in cls.model_fields.items() if key not in wrong
        }
        right = subset_model(cls.__name__, __base__=_Undescribed, **fields)
        sound = right.model_validate({k: v for k, v in given.items() if k in fields})
        made = cls.model_construct(_fields_set=set(sound.model_fields_set), **sound.__dict__)
        partly = False
        for key in wrong:
            made.__dict__.pop(key, None)
            inside = [place[1:] for place in places if str(place[0]) == key]
            kind = _plain(cls.model_fields[key].annotation) if key in cls.model_fields else None
            if (
                isinstance(given.get(key), dict)
                and isinstance(kind, type)
                and issubclass(kind, Settings)
                and all(inside)
            ):
                made.__dict__[key], partly = kind._without(inside, given[key])[0], True
        return made, partly


class _Undescribed(Settings, use_attribute_docstrings=False):
    """Made at run time: pydantic would look for its fields' docstrings in the source of every loaded module."""


@dataclass(frozen=True)
class Mistake:
    """One mistake in a table."""

    place: Place
    text: str
    """What was expected, and what came."""


def mistakes(
    kind: type[Settings], error: ValidationError, is_secret: Callable[[Place], bool] = lambda _: False
) -> list[Mistake]:
    """The mistakes in a table, given its type; values at secret places are masked."""
    found: dict[Place, list[str]] = {}
    expected: dict[Place, dict[str, None]] = {}
    for one in error.errors(include_url=False):
        place, hint = _walk(kind, one["loc"])
        table = _plain(_walk(kind, place[:-1])[1])
        not_yet = (
            table.not_yet.get(str(place[-1]), "") if isinstance(table, type) and issubclass(table, Settings) else ""
        )
        if one["type"] == "missing":
            found[place] = ["missing; it has no default"]
        elif one["type"] == "extra_forbidden":
            found[place] = [not_yet or nearest(str(place[-1]), table.model_fields)]
        elif one["type"] == "rule":
            found.setdefault(place, []).append(one["msg"])  # several rules may be broken at one place
        elif one["type"] == "value_error":  # raised by a validator of the class itself
            found[place] = [str(one["ctx"]["error"])]
        else:  # for a union, each member has its expectation
            wanted = expected.setdefault(place, {})
            wanted[_expected(one, hint)] = None
            got = "***" if is_secret(place) else f"{one['input']!r:.60}"
            found[place] = [f"expected {' or '.join(wanted)}, got {got}" + (f"; {not_yet}" if not_yet else "")]
    return [Mistake(place, text) for place, texts in found.items() for text in texts]


def keys_of(kind: type[Settings]) -> list[str]:
    """The keys of a table, required ones first."""
    return sorted(kind.model_fields, key=lambda key: not kind.model_fields[key].is_required())


def dotted(place: Place) -> str:
    """A place as text: `a.b[0]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint for an unknown key."""
    near = get_close_matches(key, known, n=1)
    return "no such key" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}")


def hint_at(kind: type[Settings], place: Place) -> Any:
    """The type of the value at a place, without its limits; None if the place does not exist."""
    found, hint = _walk(kind, place)
    return _plain(hint) if found == place else None


def _walk(kind: type[Settings], place: Place) -> tuple[Place, Any]:
    """The part of a place that is in the table, and its type; pydantic appends the member of a union that it tried."""
    hint: Any = kind
    for depth, key in enumerate(place):
        plain = _plain(hint)
        origin, args = get_origin(plain), get_args(plain)
        if isinstance(plain, type) and issubclass(plain, Settings):
            field = plain.model_fields.get(str(key))
            if field is None:
                return place[: depth + 1], None
            hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        elif origin in (list, tuple, dict):
            hint = args[1 if origin is dict else 0]
        else:
            return place if plain is Any else place[:depth], hint
    return place, hint


def _plain(hint: Any) -> Any:
    """A type without metadata and without None."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    args = get_args(hint)
    others = [one for one in args if one is not type(None)]
    return _plain(others[0]) if len(args) == 2 and len(others) == 1 else hint


_TYPES = {
    "bool_type": "bool",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_type": "float",
    "int_type": "int",
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "str",
    "tuple_type": "a list",
}
_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}


def _expected(one: ErrorDetails, hint: Any) -> str:
    """The expectation that was not met: the whole range, not only the violated limit."""
    if one["type"] in _TYPES:
        return _TYPES[one["type"]]
    limits: dict[str, Any] = one.get("ctx", {})
    if one["type"] == "too_short":
        return f"{limits['min_length']} or more entries"
    if one["type"] == "literal_error":
        plain = _plain(hint)
        return f"one of {', '.join(get_args(plain))}" if get_origin(plain) is Literal else str(limits["expected"])
    for part in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        limits = limits | {key: getattr(part, key) for key in _LIMITS if hasattr(part, key)}
    limits = {key: int(limit) if limit == int(limit) else limit for key, limit in limits.items() if key in _LIMITS}
    if limits.keys() == {"ge", "le"}:
        return f"{limits['ge']} to {limits['le']}"
    return " and ".join(f"{word} {limits[key]}" for key, word in _LIMITS.items() if key in limits) or one["msg"]


def _again(one: ErrorDetails) -> InitErrorDetails:
    kind = _custom(one["msg"]) if one["type"] == "rule" else one["type"]
    return InitErrorDetails(type=kind, loc=one["loc"], input=one["input"], ctx=one.get("ctx", {}))


def _custom(text: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{text}", {"text": text})
