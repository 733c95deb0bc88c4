"""What a protobuf message takes in memory is known from its bytes, and is not less than what it takes."""

from __future__ import annotations

import pytest

from tests.ops.serve.bodies import INFER, KINDS, field, infer
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.bounds.message_bytes import parsed_bytes

WITHOUT_END = 1 << 40


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_packed_numbers_count_by_their_width_however_short_they_are_written(count: int) -> None:
    short = infer("m", ("a", "INT64", [count], field(3, b"\x01" * count)))
    long = infer("m", ("a", "INT64", [count], field(3, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * count)))
    fixed = infer("m", ("a", "FP64", [count], field(7, bytes(8 * count))))

    taken = [parsed_bytes(pb.ModelInferRequest, one, WITHOUT_END) for one in (short, long, fixed)]

    assert taken[0] == pytest.approx(taken[1], abs=16) == pytest.approx(taken[2], abs=16)
    assert taken[0] >= 16 * count


@pytest.mark.parametrize("part", [b"\x2a\x00", b"\x32\x00", b"\x22\x00"], ids=["inputs", "outputs", "parameters"])
def test_messages_of_no_length_count_as_the_objects_that_they_become(part: bytes) -> None:
    taken = parsed_bytes(pb.ModelInferRequest, part * 10_000, WITHOUT_END)

    assert taken >= 10_000 * 100
    assert parsed_bytes(pb.ModelInferRequest, part * 10_000 + part[:1], WITHOUT_END) == taken  # cut short


def test_texts_count_one_by_one() -> None:
    taken = parsed_bytes(pb.ModelInferRequest, KINDS["short texts, typed"](10_000).body, WITHOUT_END)

    assert taken >= 20_000 * 70


def test_counting_ends_where_it_is_too_much_already() -> None:
    assert 1000 < parsed_bytes(pb.ModelInferRequest, b"\x2a\x00" * 1_000_000, 1000) < 2000


@pytest.mark.parametrize("content", [b"\xff" * 100, b"\x2a\xff\xff\xff\xff\x0f", b"\x2b", bytes(range(256)) * 20])
def test_what_is_no_message_raises_nothing(content: bytes) -> None:
    assert parsed_bytes(pb.ModelInferRequest, content, WITHOUT_END) >= 0


@pytest.mark.parametrize("name", [name for name, made in KINDS.items() if made(1000).where == INFER])
def test_a_message_that_can_be_parsed_counts_as_more_than_its_values(name: str) -> None:
    body = KINDS[name](1000).body
    texts = body.count(b"\x42\x02ab")

    assert parsed_bytes(pb.ModelInferRequest, body, WITHOUT_END) >= 70 * texts
