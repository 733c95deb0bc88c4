"""What a replay says of labelled events that the learner itself left out."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.models.contract.gauges import GaugeValue
from thalweg.models.contract.skipping import learns_from
from thalweg.models.encoders.spec import IDENTITY
from thalweg.proto.bounds.counted import counted

_MANY = 0.01
"""Share of the labelled events from which on it is said."""
_EXCESS = "excess_class_events"
_REASONS = {
    "skipped_events": "it learns from {}",
    _EXCESS: "it has no room for their classes; raise max_types or max_classes in [model.params]",
    "late_events": "they are older than their key's newest; sort the file by time",
}
"""By gauge."""


def skipped(gauges: Mapping[str, GaugeValue], labelled: int, learner: str, encoder: str = IDENTITY) -> list[str]:
    """One sentence for each reason for which many events were not learned, so that no figure hides it.

    `encoder`: What stands in front of the learner, whose features may be what it does not learn from.
    """
    counts = {name: float(value) for name in _REASONS if isinstance(value := gauges.get(name), (int, float))}
    if _EXCESS in counts:  # counted among the skipped ones, too
        counts["skipped_events"] = counts.get("skipped_events", 0.0) - counts[_EXCESS]
    reasons = {name: text.format(learns_from(learner)) for name, text in _REASONS.items()}
    where = "" if ":" in learner else f" (docs/learners/{learner}.md)"
    if encoder != IDENTITY:
        reasons["skipped_events"] = (
            f"their labels, or the numbers that encoder {encoder!r} gives, are not what it learns from"
        )
    return [
        f"hint: {learner} did not learn {count:,.0f} of {counted(labelled, 'labelled event')}: {reasons[name]}{where}"
        for name, count in counts.items()
        if labelled and count >= _MANY * labelled
    ]
