"""On what a state was computed, over several devices."""

from __future__ import annotations

from thalweg.memory.devices.history import as_software, devices_before

GPU, OTHER = "NVIDIA H200, torch 2.11.0, CUDA 13.0", "NVIDIA H100, torch 2.11.0, CUDA 13.0"


def test_a_state_of_the_processor_says_nothing() -> None:
    assert as_software("", devices_before({"numpy": "2.0"}, "")) == {}


def test_a_state_that_goes_on_elsewhere_names_all_that_it_comes_from() -> None:
    first = as_software(GPU, devices_before({}, GPU))
    assert first == {"device": GPU, "devices_before": "the processor"}

    second = as_software(OTHER, devices_before(first, OTHER))
    assert second == {"device": OTHER, "devices_before": f"the processor; {GPU}"}

    back = as_software("", devices_before(second, ""))
    assert back == {"devices_before": f"{GPU}; {OTHER}"}
    assert as_software("", devices_before(back, "")) == back
