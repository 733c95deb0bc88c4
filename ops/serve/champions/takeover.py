"""Whether one model can take over the requests of another."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from thalweg.proto.schema import TensorSpec


def cannot_take(
    known: Mapping[str, TensorSpec], asked: Collection[str], takes: Mapping[str, TensorSpec], answers: Collection[str]
) -> list[str]:
    """What requests have, or ask for, that the other model does not take or answer.

    Args:
        known: Inputs of the model that answers now.
        asked: Its outputs.
        takes: Inputs of the other one.
        answers: Outputs of the other one.
    """
    reasons = []
    for name, spec in takes.items():
        if name not in known and not spec.optional:
            reasons.append(f"it takes an input {name!r} that requests do not have now")
        elif name in known and _kind(known[name]) != _kind(spec):
            reasons.append(f"input {name!r}: it takes {_text(spec)}, requests have {_text(known[name])}")
    return reasons + [f"it has no output {name!r}" for name in asked if name not in answers]


def _kind(spec: TensorSpec) -> tuple[str, tuple[int, ...]]:
    return spec.dtype, spec.shape


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"
