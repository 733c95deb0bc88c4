"""`thalweg init`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import closing
from pathlib import Path

from thalweg.ops.cli.paths import input_path
from thalweg.ops.init.guess import guess
from thalweg.ops.init.sample import SUFFIXES, Sample, file_sample, topic_sample
from thalweg.ops.init.write import configuration, configuration_of_sequences
from thalweg.ops.run.failed import Failed
from thalweg.proto.rows.fields import NAMES, can_be_found
from thalweg.stream.log.open import open_log
from thalweg.stream.registry.client import RegistryClient
from thalweg.stream.registry.schemas import KnownSchemas
from thalweg.stream.sources.files import STANDARD_INPUT
from thalweg.stream.sources.mapping import CsvMapping
from thalweg.stream.sources.standard_input import readable_twice

_USUAL = CsvMapping()
_EMBEDDED = "sqlite:state/log.db"


def run(
    origin: str,
    *,
    log_url: str | None,
    label: str | None,
    ignore: tuple[str, ...],
    output: Path | None,
    most: int,
    mapping: CsvMapping = _USUAL,
    registry_url: str | None = None,
) -> None:
    """Write the configuration to standard output or a file, and the next command to standard error.

    Args:
        origin: A file, `-` for standard input, or a topic of the log.
        log_url: The log of a topic; default: the embedded one.
        label: The label's column; None: guessed.
        ignore: Columns that are not to be used.
        output: The file; it must not exist.
        most: Rows of the sample.
        mapping: Delimiter and encoding of the file.
        registry_url: The schema registry of a topic's framed records.

    Raises:
        Failed: The sample cannot be read, or nothing can be guessed; or the file exists.
    """
    if output is not None and output.exists():
        raise Failed(f"{output}: exists already")
    if output is not None and not output.parent.is_dir():
        raise Failed(f"--output {output}: there is no folder {output.parent}")
    path = input_path(origin)
    is_file = path.is_file() or path == STANDARD_INPUT
    if path.is_dir():
        raise Failed(f"{origin}: expected a file, got a folder")
    if not is_file and ("/" in origin or path.suffix.lower() in SUFFIXES):
        raise Failed(f"{origin}: no such file; paths are relative to the working directory, {Path.cwd()}")
    if is_file:
        with readable_twice(path, mapping.encoding) as readable:
            sample = file_sample(readable, most, mapping, shown=origin)
        name = _name(path.name.partition(".")[0])
        topic = f"{name}.events"
    else:
        sample = _of_topic(log_url or _EMBEDDED, origin, most, registry_url)
        name, topic = _name(origin.partition(".")[0]), origin
    if sample.header_doubt:
        print(f"please check the header: {sample.header_doubt}", file=sys.stderr)
    place = {"name": name, "topic": topic, "log_url": log_url or _EMBEDDED, "origin": origin}
    rows, doubts = len(sample.rows), {}
    if sample.types:
        text = configuration_of_sequences(sample.types, rows=rows, **place)
    else:
        guessed = guess(sample, label, ignore)
        if not can_be_found(guessed.label):
            raise Failed(f"the label {guessed.label!r}: expected {NAMES}: rename it")
        doubts = {guessed.label: guessed.label_doubt} | {column: one.doubt for column, one in guessed.columns.items()}
        doubts |= {"the order of rows": guessed.time_doubt}
        text = configuration(guessed, rows=rows, own_form=sample.own_form, registry_url=registry_url, **place)
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    for column, doubt in doubts.items():
        if doubt:
            print(f"please check {column}: {doubt}", file=sys.stderr)
    file = shlex.quote(str(output or "CONFIG.toml"))
    then = f"thalweg serve {file}"
    if is_file:
        usual = sample.delimiter == ("\t" if ".tsv" in path.name.lower() else ",")
        mark = "tab" if sample.delimiter == "\t" else shlex.quote(sample.delimiter)
        more = "" if usual else f" --delimiter {mark}"
        more += f" --encoding {mapping.encoding}" if mapping.encoding else ""
        then = f"thalweg replay {file} --model {name} --input {shlex.quote(origin)}{more} --report report"
    print(f"next: {then}", file=sys.stderr)


def _of_topic(url: str, topic: str, most: int, registry_url: str | None) -> Sample:
    if url.startswith("sqlite:") and not Path(url.removeprefix("sqlite:")).exists():
        raise Failed(f"{topic}: no such file; nor is there a log {url} with such a topic (--log URL)")
    schemas = None
    if registry_url is not None:
        user, password = (os.environ.get(f"THALWEG_LOG__REGISTRY__{name}", "") for name in ("USER", "PASSWORD"))
        schemas = KnownSchemas(RegistryClient(registry_url, user, password), wait_seconds=0.0)
    with closing(open_log(url)) as log:
        return topic_sample(log, topic, most, schemas=schemas)


def _name(text: str) -> str:
    """A name for the model that the configuration accepts."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_") or "model"
    return f"model-{name}" if name.isdigit() or name == "live" else name[:100]
