"""Kafka's partitioner: the values of Java's client, and those of kafka-python for any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as their_murmur2

from thalweg.stream.shards.partitioner import murmur2, partition_of, partitions_of

OF_JAVA = {  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", OF_JAVA)
def test_hashes_are_those_of_javas_client_without_their_sign(key: bytes) -> None:
    assert murmur2(key) == OF_JAVA[key] & 0x7FFFFFFF


@given(key=st.binary(max_size=200), partitions=st.integers(1, 5000))
def test_a_key_goes_where_kafka_python_sends_it(key: bytes, partitions: int) -> None:
    theirs = (their_murmur2(key) & 0x7FFFFFFF) % partitions

    assert partition_of(key, partitions) == theirs


@given(
    keys=st.lists(st.binary(max_size=9), max_size=30).map(lambda some: some * 5) | st.lists(st.binary(max_size=70)),
    partitions=st.integers(1, 5000),
)
def test_many_keys_go_where_each_goes_alone(keys: list[bytes], partitions: int) -> None:
    found = partitions_of(keys, partitions)

    assert found.tolist() == [partition_of(key, partitions) for key in keys]


@pytest.mark.parametrize("length", range(9))
def test_many_keys_of_one_length_go_where_each_goes_alone(length: int) -> None:
    keys = [bytes([place] * length) for place in range(40)]

    assert partitions_of(keys, 7).tolist() == [murmur2(key) % 7 for key in keys]


def test_a_key_of_a_kilobyte_is_not_kept_and_goes_the_same_way() -> None:
    key = bytes(range(256)) * 4

    assert {partition_of(key, 7), *partitions_of([key] * 40, 7).tolist()} == {murmur2(key) % 7}
