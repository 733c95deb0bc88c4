"""`[model.tune]`: variants of the model that differ in parameters, and learn beside it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from thalweg.models.parts.settings import Settings, rule


class TuneParams(Settings):
    """`[model.tune]`: variants of the model that differ in parameters, and learn beside it."""

    params: dict[str, list[Any]]
    """By parameter of the learner, the values to try besides the model's own, such as `gamma = [0.99, 0.999]`."""
    variants: Annotated[int, Field(ge=2, le=16)] = 4
    """Variants at most, 2 to 16, the model as configured included: those with one value changed first, then those with
    two. Learning costs as much as so many models; decoding, evaluation and serving as much as one."""

    @rule("params")
    def _there_are_values(self) -> str | None:
        if not self.params:
            return "expected a parameter and values to try, got none"
        empty = next((name for name, values in self.params.items() if not values), None)
        return None if empty is None else f"expected values to try of {empty!r}, got none"
