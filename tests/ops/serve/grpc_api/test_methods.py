"""The tables of methods say what the schemas say."""

from __future__ import annotations

from typing import Any

import pytest

from thalweg.ops.serve.grpc_api import inference, learning
from thalweg.ops.serve.grpc_api.methods import Method
from thalweg.proto import inference_pb2, thalweg_pb2

SERVICES: dict[str, tuple[Any, tuple[Method, ...]]] = {
    inference.SERVICE: (inference_pb2.DESCRIPTOR, inference.METHODS),
    learning.SERVICE: (thalweg_pb2.DESCRIPTOR, learning.METHODS),
}


@pytest.mark.parametrize("service", SERVICES)
def test_every_method_of_the_schema_is_in_the_table_with_its_messages_and_streams(service: str) -> None:
    file, methods = SERVICES[service]
    streams = {"none": (False, False), "answers": (False, True), "both": (True, True)}

    schema = {method.name: method for method in file.services_by_name[service.rsplit(".", 1)[1]].methods}

    assert {method.name for method in methods} == schema.keys()
    for method in methods:
        of = schema[method.name]
        assert streams[method.streams] == (of.client_streaming, of.server_streaming)
        if method.request is not None and method.response is not None:
            assert (of.input_type, of.output_type) == (method.request.DESCRIPTOR, method.response.DESCRIPTOR)


def test_only_predictions_take_the_slots_of_predictions_and_only_inference_observes_itself() -> None:
    for _, methods in SERVICES.values():
        for method in methods:
            assert (method.kind == "predictions") == (method.name in ("ModelInfer", "Predict"))
            assert method.observed == (method.name != "ModelInfer")


def test_what_waits_for_a_learner_or_a_disk_takes_no_slot_of_health() -> None:
    kinds = {method.name: method.kind for _, methods in SERVICES.values() for method in methods}

    assert {name for name, kind in kinds.items() if kind == "operators"} == {"Snapshot", "Rollback"}
    assert {kinds[name] for name in ("ServerLive", "ServerReady", "GetModel")} == {"control"}
    assert "control" not in {kinds[name] for name in ("Label", "ListSnapshots", "ModelMetadata", "ModelReady")}
