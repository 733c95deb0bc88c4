"""Declared settings: every mistake at once, with what was expected and what came."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BeforeValidator, Field, ValidationError

from thalweg.models.contract.learner import ParamsError
from thalweg.models.parts.settings import Count, NotNegative, Positive, Settings, Share, hint_at, rule


def _even(given: Any) -> Any:
    if given % 2:
        raise ValueError(f"expected an even number, got {given}")
    return given


class Inner(Settings):
    """A table within."""

    sizes: list[Count]
    """All at least 1."""


class Params(Settings):
    """Of nothing."""

    not_yet: ClassVar = {"tls": "TLS is not offered", "mode": "modes come later"}

    classes: Count
    """Labels are 0 … classes - 1."""

    rate: Positive = 0.1
    share: Share = 0.5
    age: NotNegative | None = None
    every: Count | Literal["auto"] = "auto"
    width: Annotated[int, Field(ge=4, multiple_of=4)] = 8
    mode: Literal["a", "b"] = "a"
    twos: Annotated[int, BeforeValidator(_even)] = 2
    text: str = ""
    inner: dict[str, Inner] = {}  # noqa: RUF012 - pydantic copies it

    @rule("rate", "classes")
    def _rate_fits_classes(self) -> str | None:
        sound = self.rate * self.classes <= 1
        return None if sound else f"expected at most 1 / {self.classes}, got {self.rate}"

    @rule("inner", "share")
    def _inner_is_short(self) -> str | None:
        long = [name for name, inner in self.inner.items() if len(inner.sizes) > 2]
        return f"expected short ones, got {{{', '.join(long)}}}" if long and self.share > 0.1 else None


class Outer(Settings):
    """With a table whose own mistakes hide none of those beside it."""

    inner: Inner | None = None
    first: str = ""
    second: str = ""
    short: bool = False

    @rule("inner", "first")
    def _no_first(self) -> str | None:
        return "expected no first beside it" if self.inner is not None and self.first else None

    @rule("inner", "second")
    def _no_second(self) -> str | None:
        return "expected no second beside it" if self.inner is not None and self.second else None

    @rule("inner", "short")
    def _is_short(self) -> str | None:
        sound = self.inner is None or not self.short or len(self.inner.sizes) < 3
        return None if sound else "expected a short one"


@pytest.mark.parametrize(
    ("inner", "inside", "text"),
    [
        ({"sizes": [1], "size": 2}, "inner.size", "no such key; did you mean sizes?"),
        ({"sizes": [0]}, "inner.sizes[0]", "expected at least 1, got 0"),
        ({}, "inner.sizes", "missing; it has no default"),
    ],
)
def test_the_mistakes_within_a_table_and_all_of_those_about_it_are_told_at_once(
    inner: dict[str, Any], inside: str, text: str
) -> None:
    with pytest.raises(ParamsError) as caught:
        Outer.of({"inner": inner, "first": "a", "second": "b", "short": True})

    beside = "expected no first beside it; expected no second beside it"
    assert caught.value.mistakes == {inside: text, "inner": beside}


def test_what_is_no_table_is_told_as_that_and_no_rule_looks_at_it() -> None:
    with pytest.raises(ParamsError) as caught:
        Outer.of({"inner": 3, "first": "a"})

    assert caught.value.mistakes == {"inner": "expected a table, got 3"}


def mistakes(**given: Any) -> dict[str, str]:
    with pytest.raises(ParamsError) as caught:
        Params.of({"classes": 3, **given})
    return caught.value.mistakes


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"classes": True}, "expected int, got True"),
        ({"classes": 1.0}, "expected int, got 1.0"),
        ({"classes": "1"}, "expected int, got '1'"),
        ({"rate": True}, "expected float, got True"),
        ({"rate": "0.1"}, "expected float, got '0.1'"),
        ({"rate": float("inf")}, "expected a finite number, got inf"),
        ({"rate": 0}, "expected above 0, got 0"),
        ({"share": 1.5}, "expected 0 to 1, got 1.5"),
        ({"share": -1}, "expected 0 to 1, got -1"),
        ({"age": -1}, "expected at least 0, got -1"),
        ({"age": "old"}, "expected float, got 'old'"),
        ({"every": 0}, "expected at least 1 or 'auto', got 0"),
        ({"every": "often"}, "expected int or 'auto', got 'often'"),
        ({"width": 6}, "expected at least 4 and a multiple of 4, got 6"),
        ({"mode": "c"}, "expected one of a, b, got 'c'; modes come later"),
        ({"twos": 3}, "expected an even number, got 3"),
        ({"text": 1}, "expected str, got 1"),
        ({"inner": []}, "expected a table, got []"),
        ({"shere": 1}, "no such key; did you mean share?"),
        ({"tls": 1}, "TLS is not offered"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_was_expected(given: dict[str, Any], text: str) -> None:
    (key,) = given

    assert mistakes(**given) == {key: text}


def test_what_is_deeper_is_named_with_its_place() -> None:
    assert mistakes(inner={"x": {"sizes": [1, 0, 1.5]}, "y": {"sises": []}, "z": 1}) == {
        "inner.x.sizes[1]": "expected at least 1, got 0",
        "inner.x.sizes[2]": "expected int, got 1.5",
        "inner.y.sizes": "missing; it has no default",
        "inner.y.sises": "no such key; did you mean sizes?",
        "inner.z": "expected a table, got 1",
    }


def test_rules_are_asked_of_the_fields_that_are_right_and_of_no_others() -> None:
    long = {"x": {"sizes": [1, 2, 3]}}

    assert mistakes(rate=1) == {"rate": "expected at most 1 / 3, got 1.0"}
    assert mistakes(rate=1, share=2, width=1).keys() == {"rate", "share", "width"}
    assert mistakes(rate=1, classes=0).keys() == {"classes"}
    assert mistakes(rate=1, inner=long, width=1) == {
        "rate": "expected at most 1 / 3, got 1.0",
        "inner": "expected short ones, got {x}",
        "width": "expected at least 4 and a multiple of 4, got 1",
    }


def test_a_rule_of_a_field_that_is_missing_is_not_asked() -> None:
    with pytest.raises(ParamsError) as caught:
        Params.of({"rate": 9, "share": 2})

    assert caught.value.mistakes.keys() == {"classes", "share"}


def test_an_integer_stands_for_a_float_and_what_is_left_out_has_its_default() -> None:
    params = Params.of({"classes": 1, "rate": 1})

    assert (params.rate, type(params.rate), params.share) == (1.0, float, 0.5)
    assert params == Params(classes=1, rate=1.0)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Params(classes=1).rate = 2.0  # type: ignore[misc]


def test_the_docstring_under_a_field_is_its_description() -> None:
    assert Params.model_fields["classes"].description == "Labels are 0 … classes - 1."


def test_a_place_has_the_type_that_is_wanted_there() -> None:
    assert hint_at(Params, ("age",)) is float
    assert hint_at(Params, ("inner", "x", "sizes", 0)) is int
    assert hint_at(Params, ("text",)) is str
    assert hint_at(Params, ("nothing",)) is None
