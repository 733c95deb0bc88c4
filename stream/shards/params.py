"""`[model.scale]`: a model that several processes share, by the partitions of its topic or whole."""

from __future__ import annotations

from typing import Any, Literal

from thalweg.models.parts.settings import Positive, Settings, Whole, rule


class ScaleParams(Settings):
    """`[model.scale]`: what Kafka assigns to one learner process at a time, and to another when that one ends."""

    by: Literal["partition", "topic"] = "partition"
    """`partition`: each partition of the topic is learned by itself, as a shard; `topic`: the model is learned as ever,
    from all of them, by one process at a time: when its host ends, another goes on with its state."""
    answers: Literal["merge", "key"] = "merge"
    """`merge`: the shards are merged into one model, for learners whose states can be; `key`: each shard answers for
    the keys of its partition, for any learner."""
    merge_seconds: Positive = 0.5
    """With `merge`: how often a shard hands its state on, and the merged model is solved, at most."""
    without_key: Literal["refuse", "mean"] = "refuse"
    """With `key`: what becomes of a request without a key. `mean`: it gets the mean over the answers of all shards."""

    average_every: Whole = 0
    """With `key`: after so many labelled events of its own a shard averages the parameters that are about all keys with
    those of the other shards, weighted by the events that each has learned meanwhile; for learners that have such
    parameters (`error_memory`). 0: never."""

    @rule("average_every", "answers")
    def _keyed_shards_average(self) -> str | None:
        sound = not self.average_every or self.answers == "key"
        return None if sound else "expected answers = 'key' with it: merged shards are one model already"

    @rule("by", "answers", "merge_seconds", "without_key")
    def _one_model_is_not_put_together(self) -> str | None:
        given = [key for key in ("answers", "merge_seconds", "without_key") if getattr(self, key) != _usual(key)]
        return f"expected by = 'partition' with {given[0]}" if self.by == "topic" and given else None

    @rule("merge_seconds", "answers")
    def _merged_shards_wait(self) -> str | None:
        return (
            None
            if self.answers == "merge" or self.merge_seconds == _usual("merge_seconds")
            else "expected answers = 'merge' with it"
        )

    @rule("without_key", "answers")
    def _keys_answer(self) -> str | None:
        return None if self.answers == "key" or self.without_key == "refuse" else "expected answers = 'key' with it"


def _usual(key: str) -> Any:
    return ScaleParams.model_fields[key].default
