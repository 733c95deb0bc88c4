"""Aliases: names under which one of several models answers, the champion, until another one is promoted.

A request finds its model once and keeps it, so one that is under way when another model is promoted is answered by the
one before. The versions of an alias are numbered through over its champions, so that they never run backwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.snapshots.snapshots import FolderSnapshots, UnknownVersion
from thalweg.ops.serve.by_key.keys import KEY
from thalweg.ops.serve.champions.shadow import Shadow
from thalweg.ops.serve.champions.standing import ComparisonFile, standing
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.versions import Freshness, Versions
from thalweg.stream.comparison.comparison_file import ComparisonReport
from thalweg.stream.journal.promotions import CONFIGURED, FIRST, Promotion, Promotions
from thalweg.stream.publication.ports import ServedVersion, VersionSubscriber

log = structlog.get_logger(__name__)

VERSIONS_PER_PROMOTION = 10**12
"""Version v of a model is version n * 10^12 + v of the alias after its promotion n; no model has so many versions."""


@dataclass(frozen=True, slots=True)
class AliasLocation:
    """An alias, as a server needs it."""

    name: str
    champion: str
    """The champion that the configuration names."""
    members: tuple[str, ...]
    """The models that may answer under the name."""
    promotions: Path
    """The file of its promotions."""
    comparison: Path | None = None
    """The file of its comparison, if it promotes by a test."""
    shadow: float = 0.0
    """The share of its requests that challengers answer as well."""


class NumberedVersions:
    """A model's versions, numbered as those of an alias.

    Args:
        inner: The model's own.
        base: Added to each number.
    """

    def __init__(self, inner: Versions, base: int) -> None:
        self._inner, self._base = inner, base
        self._last: tuple[ServedVersion, ServedVersion] | None = None

    @property
    def subscriber(self) -> VersionSubscriber:
        return self._inner.subscriber

    @property
    def snapshots(self) -> FolderSnapshots:
        return self._inner.snapshots

    @property
    def newest(self) -> ServedVersion | None:
        served = self._inner.newest
        return None if served is None else self._numbered(served)

    def current(self) -> ServedVersion:
        return self._numbered(self._inner.current())

    def find(self, wanted: Freshness, patience_seconds: float | None = None) -> ServedVersion:
        at_least, as_of = wanted.at_least, wanted.as_of
        if at_least is not None:  # a version of a champion before is behind this one
            at_least = max(0, at_least - self._base)
        if as_of is not None:
            as_of -= self._base
        return self._numbered(self._inner.find(Freshness(at_least, as_of), patience_seconds))

    def ready(self, version: int | None = None) -> bool:
        return self._inner.ready(None if version is None else version - self._base)

    def _numbered(self, served: ServedVersion) -> ServedVersion:
        last = self._last  # one read: another thread may replace it
        if last is None or last[0] is not served:
            info = replace(served.info, version=served.info.version + self._base)
            last = self._last = served, ServedVersion(served.predictor, info, served.shards)
        return last[1]


class Alias:
    """The model that answers under an alias. Any thread may read `model`; one thread calls `look`.

    Args:
        location: The alias.
        models: The served models by name.
        shadow: Computes copies of its requests; None: none are taken.
    """

    def __init__(
        self, location: AliasLocation, models: Mapping[str, ServedModel], shadow: Shadow | None = None
    ) -> None:
        self._shadow = shadow if location.shadow else None
        self.name = location.name
        self.members = location.members
        self._location, self._models = location, models
        self._promotions = Promotions(location.promotions)
        self.record = Promotions(location.promotions)
        """Its promotions, to append to. Not those that `look` follows: what is read here must not be missed there."""
        self.configured = location.champion
        """The champion that the configuration names."""
        self._comparison = ComparisonFile(location.comparison)
        self._history: tuple[Promotion, ...] = (Promotion(0, location.champion, FIRST, location.champion, 0.0),)
        self._waits_for: Promotion | None = None
        self._open()
        self.model = self._under(self._history[-1])
        """The champion under the alias's name; replaced as a whole. Read it once per request."""

    @property
    def promotions(self) -> int:
        """How often another model was promoted."""
        return self._history[-1].number

    def comparison(self) -> ComparisonReport | None:
        """How its champion and challengers compare; None if nothing is compared, or not since the last promotion. Any
        thread may call it.
        """
        found = self._comparison.read()
        return found if found is not None and found.comparison.promotion == self.promotions else None

    def standing(self) -> dict[str, Any]:
        """Who answers, who has answered, and how the comparison stands, as JSON values. Any thread may call it."""
        return standing(
            self.name, self.members, self._history, self.comparison(), auto=self._location.comparison is not None
        )

    @property
    def problem(self) -> str:
        """Why a promotion has not taken effect here; empty if there is none."""
        waits = self._waits_for
        return "" if waits is None else f"{waits.champion} is promoted and cannot answer yet: {self._why(waits)}"

    def look(self) -> bool:
        """Follow the promotions recorded since; whether another model answers now. Raises OSError."""
        if not self._promotions.changed() and self._waits_for is None:
            return False
        history = self._promotions.read()
        if not history or history[-1].number <= self._history[-1].number:
            return False
        newest = history[-1]
        if self._why(newest):  # requests would be refused
            if self._waits_for != newest:
                log.warning("a promoted model cannot answer yet", alias=self.name, model=newest.champion)
            self._waits_for = newest
            return False
        self._waits_for, self._history = None, history
        self.model = self._under(newest)
        log.info("another model answers", alias=self.name, model=newest.champion, cause=newest.cause)
        return True

    def of_version(self, version: int) -> ServedModel:
        """The model that a version belongs to, under the alias's name. Raises UnknownVersion."""
        if version // VERSIONS_PER_PROMOTION > self._history[-1].number:
            with suppress(OSError):  # another server may have been the first to follow a promotion
                self.look()
        number = version // VERSIONS_PER_PROMOTION
        for one in self._history:
            if one.number == number and one.champion in self._models:
                return self.model if number == self._history[-1].number else self._under(one)
        raise UnknownVersion(f"alias {self.name!r}: no model of it has version {version}")

    def _open(self) -> None:
        """The promotions so far, and what the configuration says since."""
        try:
            if known := self._promotions.settle(self._location.champion, self.members):
                self._history = known
        except OSError as error:
            log.error("the promotions of an alias cannot be read", alias=self.name, problem=str(error))
        newest = self._history[-1]
        if newest.champion not in self._models:
            fallen = Promotion(newest.number + 1, self._location.champion, CONFIGURED, self._location.champion, 0.0)
            self._history = (*self._history, fallen)

    def _why(self, promotion: Promotion) -> str:
        model = self._models.get(promotion.champion)
        return "no such model is served here" if model is None else model.unready()

    def _under(self, promotion: Promotion) -> ServedModel:
        """The model of a promotion, under the alias's name."""
        champion = self._models[promotion.champion]
        others = [self._models[name] for name in self.members if name in self._models and name != promotion.champion]
        made = under_alias(champion, self.name, promotion.number * VERSIONS_PER_PROMOTION, others)
        if self._shadow is not None and others:
            made.copied = partial(self._shadow.offer, made, self._location.shadow)
        return made


def under_alias(model: ServedModel, name: str, base: int, others: Sequence[ServedModel]) -> ServedModel:
    """A model as it answers under an alias.

    Args:
        model: The champion.
        name: The alias's name.
        base: Added to the numbers of its versions.
        others: The challengers, whose requests these are, too.
    """
    made = copy(model)
    made.name, made.answering, made.base, made.others = name, model, base, tuple(others)
    made.versions = NumberedVersions(model.versions, base) if base else model.versions
    known = model.schema.inputs.keys()
    made.tolerated = frozenset(input for other in others for input in other.schema.inputs if input not in known)
    if made.keys is None and KEY not in known and any(other.keys is not None for other in others):
        made.tolerated |= {KEY}
    return made
