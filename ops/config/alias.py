"""`[[alias]]`: a name under which one of several models answers."""

from __future__ import annotations

from typing import ClassVar, Literal

from thalweg.models.parts.settings import Settings
from thalweg.ops.config.model import Name


class AliasConfig(Settings):
    """`[[alias]]`: a name under which one of several models answers."""

    not_yet: ClassVar = {"promotion": "promotion by a test is not offered in this version"}

    name: Name
    """The name that clients use; no model has it."""
    champion: Name
    """The model that answers until another one is promoted. A restart keeps the one that `thalweg promote` made the
    champion; another name here is a promotion, too."""
    challengers: list[Name] = []  # noqa: RUF012 - pydantic copies it
    """Models that may be promoted. They learn from the same topics, and do not answer under this name."""
    promotion: Literal["manual"] = "manual"
    """`manual`: by `thalweg promote`."""

    @property
    def members(self) -> list[str]:
        """The champion and the challengers."""
        return [self.champion, *self.challengers]
