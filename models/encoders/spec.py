"""What a configuration says of an encoder, and the hash of what determines its features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from thalweg.models.contract.learner import ParamsError

IDENTITY = "identity"
RANDOM = {"random_features": 1024, "random_convolution": 2048}
"""Random layers, and their default number of features."""
KINDS = (*RANDOM, "onnx")
"""All kinds but the functions and modules, which have a user's name."""
HUGGING_FACE = "hf"
"""Prefix of a folder that Hugging Face's `save_pretrained` wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """An encoder, and how it is made."""

    name: str = IDENTITY
    """`identity`, a kind of `KINDS`, `module:name`, `timm:NAME` or `hf:FOLDER`."""
    weights: str = ""
    """Safetensors file for a torch module."""
    weights_strict: bool = True
    """Whether the file must have exactly the module's tensors."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of its factory, by name, as JSON values."""
    columns: tuple[str, ...] = ()
    """The columns that it takes as they are; empty: it takes the inputs, or the features of all columns."""

    @property
    def kind(self) -> str:
        """The name without what follows its colon."""
        return self.name.partition(":")[0]

    @property
    def takes_weights(self) -> bool:
        """Whether it takes a file of weights: only a torch module does, and a folder has its own."""
        return self.kind not in (IDENTITY, *KINDS, HUGGING_FACE)

    def sha256(self, seed: int) -> str:
        """Hash of the encoder's identity: its name, its weights, its arguments, the seed of a random one; empty for
        `identity`.

        Raises:
            ParamsError: A file cannot be read; key `weights`, or `encoder`.
        """
        if self.name == IDENTITY:
            return ""
        said = f"{self.name}{seed if self.kind in RANDOM else ''}".encode()
        if self.arguments or not self.weights_strict:
            said += json.dumps([dict(self.arguments), self.weights_strict], sort_keys=True, default=str).encode()
        files = []
        for key, file in self._files():
            try:
                stat = file.stat()
            except OSError as error:
                raise ParamsError({key: f"{file} cannot be read: {error.strerror}"}) from error
            files.append((key, str(file), stat.st_mtime_ns, stat.st_size))
        return _sha256(said, tuple(files))

    def _files(self) -> Iterator[tuple[str, Path]]:
        """The files that determine it, each with its key."""
        if self.weights:
            yield "weights", Path(self.weights)
        path = Path(self.name.partition(":")[2])
        if self.kind == "onnx" and path.name:
            yield "encoder", path
        if self.kind == HUGGING_FACE and path.is_dir():
            yield from (("encoder", one) for one in sorted([*path.glob("*.json"), *path.glob("*.safetensors")]))


def spec_of(encoder: EncoderSpec | str, weights: str = "") -> EncoderSpec:
    """The specification of an encoder of which only name and weights are given."""
    return encoder if isinstance(encoder, EncoderSpec) else EncoderSpec(name=encoder, weights=weights)


@lru_cache(maxsize=64)
def _sha256(said: bytes, files: tuple[tuple[str, str, int, int], ...]) -> str:
    """Of a text and of files, whose times and sizes are given so that a changed file is read again."""
    digest = hashlib.sha256(said)
    for key, file, _, _ in files:
        try:
            with Path(file).open("rb") as opened:
                while part := opened.read(1 << 22):
                    digest.update(part)
        except OSError as error:
            raise ParamsError({key: f"{file} cannot be read: {error.strerror}"}) from error
    return digest.hexdigest()
