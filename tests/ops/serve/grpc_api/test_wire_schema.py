"""Our `inference.proto` is part of Triton's: what both name has the same number, type and label in both."""

from __future__ import annotations

import json
import subprocess
import sys

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from thalweg.proto import inference_pb2 as pb

THEIRS = """
import json
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
import tritonclient.grpc.model_config_pb2 as config
import tritonclient.grpc.service_pb2 as service

files = []
for module in (config, service):
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    files.append(json_format.MessageToDict(file))
print(json.dumps(files))
"""


def fields(messages: list[dict[str, object]], within: str = "") -> dict[str, tuple[object, ...]]:
    """Number, type and label of every field, by its full name."""
    found: dict[str, tuple[object, ...]] = {}
    for message in messages:
        name = f"{within}{message['name']}"
        for field in message.get("field", []):  # type: ignore[attr-defined]
            key = f"{name}.{field['name']}"
            found[key] = (field["number"], field["type"], field.get("typeName"), field["label"])
        found |= fields(message.get("nestedType", []), f"{name}.")  # type: ignore[arg-type]
    return found


def test_every_field_that_clients_of_triton_know_has_the_same_number_and_type() -> None:
    file = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    ours = json_format.MessageToDict(file)
    done = subprocess.run([sys.executable, "-c", THEIRS], capture_output=True, text=True, check=True, timeout=120)
    config, service = json.loads(done.stdout)

    theirs = fields(config["messageType"]) | fields(service["messageType"])
    mine = fields(ours["messageType"])

    assert len(mine) > 100
    other = {name for name, field in mine.items() if theirs.get(name) != field}
    assert {name for name in other if "ropert" not in name} == set()  # of the Open Inference Protocol, not Triton's
    methods = {one["name"]: one for one in service["service"][0]["method"]}
    assert [one["name"] for one in ours["service"][0]["method"] if methods.get(one["name"]) != one] == []
    kinds = {one["name"]: one for one in config["enumType"]}
    assert all(kinds[one["name"]] == one for one in ours["enumType"])
