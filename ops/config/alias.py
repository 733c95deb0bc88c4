"""`[[alias]]`: a name under which one of several models answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from thalweg.models.parts.settings import Settings, Share
from thalweg.ops.config.names import Name
from thalweg.stream.comparison.losses import LossName


class AliasConfig(Settings):
    """`[[alias]]`: a name under which one of several models answers."""

    name: Name
    """The name that clients use; no model has it."""
    champion: Name
    """The model that answers until another one is promoted. A restart keeps the one that `thalweg promote` made the
    champion; another name here is a promotion, too."""
    challengers: list[Name] = []  # noqa: RUF012 - pydantic copies it
    """Models that may be promoted. They learn from the same topics, and do not answer under this name."""
    promotion: Literal["manual", "auto"] = "manual"
    """`manual`: by `thalweg promote`, or on the page. `auto`: also by itself, once a test that is valid at any time
    finds a challenger to be better."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """With `auto`: the probability that a challenger which is not better is ever promoted, over an endless stream and
    all challengers together."""
    loss: LossName = "auto"
    """With `auto`: what is compared. `auto`: wrong classes (`zero_one`), Brier scores of `error_memory`, squared
    errors, or log-likelihoods; of classes also `zero_one`, or `brier` or `log_loss` of their probabilities, for classes
    that are rare."""

    shadow: Share = 0.0
    """The share of the requests to the alias that its challengers answer as well, unseen, to show what they do with the
    traffic; such copies are the first to be shed."""

    @property
    def members(self) -> list[str]:
        """The champion and the challengers."""
        return [self.champion, *self.challengers]
