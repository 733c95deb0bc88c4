"""`[model.scale]`: a model that learns each partition of its topic by itself, on as many processes as there are."""

from __future__ import annotations

from typing import Literal

from thalweg.models.parts.settings import Positive, Settings, Whole, rule


class ScaleParams(Settings):
    """`[model.scale]`: a shard for each partition of the topic, learned by whichever learner process owns it."""

    by: Literal["partition"] = "partition"
    """What a shard is: the events of one partition of the topic."""
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

    @rule("merge_seconds", "answers")
    def _merged_shards_wait(self) -> str | None:
        usual = type(self).model_fields["merge_seconds"].default
        return None if self.answers == "merge" or self.merge_seconds == usual else "expected answers = 'merge' with it"

    @rule("without_key", "answers")
    def _keys_answer(self) -> str | None:
        return None if self.answers == "key" or self.without_key == "refuse" else "expected answers = 'key' with it"
