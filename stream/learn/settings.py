"""How one model follows its topic."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.stream.log.log import Start


@dataclass(frozen=True, kw_only=True)
class ProcessorSettings:
    """Settings of one processor; the same names as in the configuration file."""

    model: str = "model"
    """The model's name, for manifests and logs."""
    topic: str = "events"
    """Where its events are."""
    joined_topic: str = ""
    """Where events are that were joined with labels that came later; empty: labels come with their events."""
    learner: str = ""
    """The learner's registered name, for manifests."""
    config_sha256: str = ""
    """Over the settings that make the state what it is; a state saved under another one is refused."""
    start: Start = "earliest"
    """Where a model without a snapshot begins."""
    batch_events: int = 64
    """Learn in micro-batches of at most this many events."""
    batch_seconds: float = 0.05
    """The longest time that a block is gathered while records keep coming; one that comes alone is learned at once."""
    max_record_bytes: int = 64 << 20
    """Larger records are not decoded: they are dead letters."""
    block_bytes: int = 4 << 20
    """About how much is taken from the log at once."""
    snapshot_events: int = 10_000
    """Save a snapshot after this many events …"""
    snapshot_seconds: float = 30.0
    """… or after this long, if anything was learned; never more than a tenth of the time goes into saving."""
    dedup_events: int = 65_536
    """Redelivered events are recognised by id among this many newest ids."""
    publish_share: float = 0.05
    """Publishing may take this share of the time."""
    forgetting_factor: float = 5.0
    """On an alarm of drift, where forgetting is raised then: what was learned counts so many times less …"""
    forgetting_events: int = 1000
    """… for so many events."""
    idle_seconds: float = 0.05
    """How long to wait for records before looking after other things."""

    @property
    def topics(self) -> list[str]:
        """All that are followed."""
        return [self.topic, *([self.joined_topic] if self.joined_topic else [])]

    @property
    def group(self) -> str:
        """The consumer group that positions are committed to, for those who look on."""
        return f"thalweg.{self.model}"
