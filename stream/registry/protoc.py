"""Protobuf schemas, which a registry keeps as source text, compiled by Protobuf's own compiler.

It runs in a process of its own: it writes what is wrong to its standard error, and no text can do more than end it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.stream.log.log import LogError, PermanentLogError

_SECONDS = 60.0
_KILLED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
_OWN = "thalweg_registered_schema.proto"
"""The schema's own file; no other may have this name."""
_KNOWN_TO_ALL = {
    "confluent/meta.proto": """syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
message Meta {
  string doc = 1;
  map<string, string> params = 2;
  repeated string tags = 3;
}
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
""",
    "confluent/type/decimal.proto": """syntax = "proto3";
package confluent.type;
message Decimal {
  bytes value = 1;
  uint32 precision = 2;
  int32 scale = 3;
}
""",
}
"""What Confluent's registries know without registration, beside Google's well-known types."""


def compiled(schema: RegisteredSchema) -> RegisteredSchema:
    """A Protobuf schema with `compiled`, or with the fault that the compiler finds.

    Raises:
        LogError: It cannot be compiled now.
        PermanentLogError: There is no compiler.
    """
    if find_spec("grpc_tools") is None:
        raise PermanentLogError(
            "Protobuf schemas need grpcio-tools, which is not installed; run: pip install 'thalweg[registry]'"
        )
    files = {**_KNOWN_TO_ALL, **dict(zip(schema.names, schema.references)), _OWN: schema.text}
    for name in files:
        if not _is_import(name):
            return replace(schema, fault=f"no Protobuf schema: {name!r:.80} is no path of an import")
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _compiled(schema, files, Path(folder))
    except OSError as error:  # the disk, or no process can be started now
        raise LogError(f"a Protobuf schema cannot be compiled: {error}") from error


def _compiled(schema: RegisteredSchema, files: dict[str, str], folder: Path) -> RegisteredSchema:
    texts, found = folder / "texts", folder / "compiled"
    for name, text in files.items():
        path = texts / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="replace", newline="")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return replace(schema, fault=f"no Protobuf schema: the import {name!r:.80} is beneath another one")
    # the compiler knows where its well-known types are; it runs where no file of the schema is taken for a module
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{texts}", "--include_imports"]
    try:
        done = subprocess.run(
            [*command, f"--descriptor_set_out={found}", _OWN],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return replace(schema, fault=f"no Protobuf schema: its compiler needs more than {_SECONDS:g} s")
    if done.returncode in _KILLED:  # for lack of memory, or by an operator: it says nothing about the schema
        raise LogError(f"a Protobuf schema cannot be compiled: its compiler was ended by signal {-done.returncode}")
    if done.returncode:
        lines = (
            done.stderr.decode("utf-8", "replace").replace(f"{texts}/", "").replace(f"{_OWN}:", "line ").splitlines()
        )
        faults = [line for line in lines if "warning" not in line.lower() and "No edition or syntax" not in line]
        told = faults[0] if faults else f"its compiler ends with {done.returncode}"
        return replace(schema, fault=f"no Protobuf schema: {told}"[:300])
    return replace(schema, compiled=found.read_bytes())


def _is_import(name: str) -> bool:
    path = PurePosixPath(name)
    sound = name.isprintable() and "\\" not in name and all(len(part.encode()) <= 200 for part in path.parts)
    return sound and 0 < len(name) <= 500 and not path.is_absolute() and ".." not in path.parts
