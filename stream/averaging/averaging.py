"""Averages the shared parameters of a shard with those of its siblings, every so many of its own events.

A shard's state stays a function of its log and its journal: what was mixed in is a control entry, which the journal
keeps whole, so that nobody who applies it again asks another shard for anything. Weights are the events that each has
learned since this shard last averaged; a sibling that has learned nothing meanwhile counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Averageable, capability
from thalweg.models.contract.learner import Learner
from thalweg.stream.exceptions import first_line
from thalweg.stream.journal.entries import AveragingEntry
from thalweg.stream.merging.ports import ShardState, ShardStates

log = structlog.get_logger(__name__)


class Averaging:
    """When a shard averages, and with what. Only its learner's thread uses it.

    Args:
        shards: The published versions of all shards of the model, however they got to this host.
        number: The shard's own.
        every: Events between two averages.
        noted: Meta that the states of shards under the same settings have; others are not mixed in.
    """

    def __init__(self, shards: ShardStates, number: int, every: int, noted: Mapping[str, Any] | None = None) -> None:
        self._shards, self._number, self._every, self._noted = shards, number, every, dict(noted or {})
        self._learned = 0
        """Events of this shard when it last averaged."""
        self._theirs: dict[int, int] = {}
        """Events of its siblings then."""
        self._begun = False
        self._refused: dict[int, str] = {}

    def entry(self, learner: Learner, version: int, learned: int) -> AveragingEntry | None:
        """The entry that follows this version, if it is time for one and there is something to mix in.

        Args:
            learner: The shard's.
            version: Its version.
            learned: Labelled events that it has learned.
        """
        if not self._begun or learned < self._learned:  # after a start, or a rollback
            self._begin(learned)
            return None
        if learned < self._learned + self._every:
            return None
        siblings = self._siblings()
        weight = float(learned - self._learned)
        found = self._averaged(learner, siblings)
        self._begin(learned, siblings)
        if found is None:
            return None
        mixed, shards = found
        return AveragingEntry(version + 1, mixed.sha256(), weight, shards, mixed)

    def close(self) -> None:
        """Close what it reads the siblings by."""
        self._shards.close()

    def _begin(self, learned: int, siblings: Mapping[int, ShardState] | None = None) -> None:
        found = self._siblings() if siblings is None else siblings
        events = {number: one.info.learned_events for number, one in found.items() if one.info is not None}
        self._begun, self._learned, self._theirs = True, learned, self._theirs | events

    def _siblings(self) -> dict[int, ShardState]:
        return {number: one for number, one in self._shards.newest().items() if number != self._number}

    def _averaged(
        self, learner: Learner, siblings: Mapping[int, ShardState]
    ) -> tuple[State, tuple[tuple[int, int], ...]] | None:
        """The mean of what the siblings have, and which of them; None where there is none."""
        averageable = capability(learner, Averageable)
        assert averageable is not None
        usable: dict[int, tuple[State, float]] = {}
        versions: dict[int, int] = {}
        for number, one in siblings.items():
            if one.info is None or one.state is None:
                continue
            if (weight := one.info.learned_events - self._theirs.get(number, 0)) <= 0:
                continue
            try:
                self._must_be_alike(one.state)
                averageable.average([*list(usable.values())[:1], (one.state, float(weight))])  # alike with each other
            except (ValueError, LookupError, TypeError) as error:  # of another shape or version, or not finite
                self._tell(number, first_line(error))
                continue
            usable[number], versions[number] = (one.state, float(weight)), one.info.version
        if not usable:
            return None
        return averageable.average(list(usable.values())), tuple(sorted(versions.items()))

    def _must_be_alike(self, state: State) -> None:
        for key, wanted in self._noted.items():
            if (got := state.meta.get(key)) != wanted:
                raise ValueError(f"it was made under other settings ({key}: expected {wanted}, got {got})")

    def _tell(self, number: int, why: str) -> None:
        if self._refused.get(number) != why:
            log.warning("a shard is not averaged with the others", shard=number, problem=why)
            self._refused[number] = why
