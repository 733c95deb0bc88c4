"""JSON of strangers: what UTF-8 cannot hold is found, wherever it stands."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto.bounds.limits import MAX_JSON_DEPTH
from thalweg.proto.json_text import NotUtf8, NumberTooLong, TooDeep, expanded_bytes, fault_of, is_utf8, json_of

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
)


@given(anything)
def test_what_is_read_can_be_encoded_and_what_cannot_is_refused(value: Any) -> None:
    content = json.dumps(value).encode()
    pairs_made = json.loads(content)  # two halves side by side are one sign

    try:
        found = json_of(content)
    except NotUtf8:
        assert not is_utf8(json.dumps(pairs_made, ensure_ascii=False))
    else:
        assert found == pairs_made
        json.dumps(found, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'"\\ud800"', "the JSON: expected valid UTF-8, got '\\ud800'"),
        (b'{"a": [0, {"b": "x\\uDFFF"}]}', "a.1.b: expected"),
        (b'{"a": {"\\udc00": 1}}', "a: expected valid UTF-8, got '\\udc00'"),
        (b'{"parameters": {"event_id": "\\ud800"}}', "parameter 'event_id': expected"),
    ],
)
def test_the_place_is_named(content: bytes, text: str) -> None:
    with pytest.raises(NotUtf8) as caught:
        json_of(content)

    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("content", [b'"\xed\xa0\x80"', b'"\xff"', b"{", b""])
def test_bytes_that_are_no_utf8_or_no_json_are_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"utf-8|Expecting"):
        json_of(content)


def test_a_text_that_only_looks_like_an_escape_is_taken() -> None:
    assert json_of(rb'"\\ud800"') == "\\ud800"
    assert json_of('\ufeff"süd"'.encode()) == "süd"
    assert json_of('"süd"'.encode("utf-16")) == "süd"


@pytest.mark.parametrize("opening", ["[", '{"a":', '["\\"",', "[1,"])
def test_a_text_that_is_too_deep_is_refused_for_its_depth(opening: str) -> None:
    for count in (MAX_JSON_DEPTH + 1, 100_000):
        with pytest.raises(TooDeep, match=f"nested more than {MAX_JSON_DEPTH} levels deep"):
            json_of((opening * count).encode())
        with pytest.raises(TooDeep):
            json_of((opening * count).encode("utf-16"))
    closing = {"[": "]", "{": "}"}[opening[0]]

    assert json_of((opening * MAX_JSON_DEPTH + "1" + closing * MAX_JSON_DEPTH).encode())


@pytest.mark.parametrize("part", ["[]", "1.5", "{}", '{"a":1}', '"a"', '"' + "é" * 50 + '"'])
def test_what_a_text_expands_to_is_not_underestimated(part: str) -> None:
    content = ("[" + ",".join([part] * 50_000) + "]").encode()
    tracemalloc.start()
    try:
        found = json_of(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found
    assert peak <= 1.3 * expanded_bytes(content)


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_too_many_digits_is_refused_with_its_place_and_without_advice_for_programmers(sign: str) -> None:
    content = b'{"inputs": [{"data": [1, %s%s]}]}' % (sign.encode(), b"7" * 5000)

    with pytest.raises(NumberTooLong) as caught:
        json_of(content)

    assert str(caught.value) == "inputs.0.data.1: expected a number of at most 4,300 digits, got 5,000"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"label": "\\ud800"}', "label: expected valid UTF-8, got '\\ud800', a lone surrogate"),
        (b'\xef\xbb\xbf{"inputs": {"x": [1, NaN]}}', "inputs.x.1: NaN is not allowed in JSON"),
        (b'{"time": -Infinity}', "time: -Infinity is not allowed in JSON"),
        (b'{"label": "NaN", "a": [}', "the parser's words"),
        (b'{"label": "\xff"}', "the parser's words"),
    ],
)
def test_what_a_strict_parser_refuses_is_told_in_words_for_its_sender(content: bytes, said: str) -> None:
    assert fault_of(content, ValueError("the parser's words")) == said
