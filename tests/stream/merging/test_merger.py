"""The merger over real folders: shards come, go, fall back and are damaged, and the model stays one model."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.services.processes import PATIENCE, until
from thalweg.memory.snapshots.state import State, read_state
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels, join
from thalweg.proto.schema import TensorSpec
from thalweg.stream.health.registry import Condition, Health
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.merging.folders import FolderShards
from thalweg.stream.merging.merger import Merger
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.merging.sums import MergedStates
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.ports import ServedVersion
from thalweg.stream.shards.names import shard_name

NOTED = {"settings_sha256": "same"}
PARAMS: dict[str, Any] = {"forgetting": 1, "standardise": "solved", "expansion": 0}


def ridge(**params: Any) -> Ridge:
    inputs = {"features": TensorSpec("features", "float32", (3,))}
    return Ridge(LearnerContext(inputs=inputs, params={**PARAMS, **params}, seed=1))


def events(seed: int, count: int = 30, names: tuple[str, ...] = ("a", "b")) -> Batch:
    random = np.random.default_rng(seed)
    codes = random.integers(0, len(names), count).astype(np.int32)
    x = random.standard_normal((count, 3)) + codes[:, None]
    return Batch({"features": x.astype(np.float32)}, ClassLabels(codes, names), np.ones(count), np.arange(count) * 1.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shard:
    """One shard as its owner has it: a learner, and how it is published."""

    def __init__(self, live: Path, number: int, clock: Clock, learner: Ridge | None = None, **noted: Any) -> None:
        self.learner, self.log, self.version = learner or ridge(), list[Batch](), 0
        folder = live / shard_name("m", number)
        self.publisher = ShardPublisher(folder, self.learner, 0.5, {**NOTED, **noted}, clock, clock)

    def learn(self, batch: Batch, *, as_of: float = 0.0) -> None:
        self.learner.learn(batch)
        self.log.append(batch)
        self.version += 1
        self.publisher.publish(
            self.learner.predictor(), version=self.version, learned_events=self.events, event_time=float(self.events)
        )
        if as_of:
            self.publisher.confirm(as_of)

    @property
    def events(self) -> int:
        return sum(map(len, self.log))


class Model:
    """A model of shards on one host, a merger that is turned by hand, and a server."""

    def __init__(self, live: Path, partitions: tuple[int, ...] = ()) -> None:
        self.live, self.clock, self.partitions = live, Clock(), partitions
        self.health = Health("merger", "m")
        self.server = FileSubscriber(live / "m", Ridge.predictor_from)
        self.restart()

    def restart(self) -> None:
        self.merger = Merger(
            ridge,
            FolderShards(self.live, "m"),
            self.live / "m",
            0.5,
            self.health,
            partitions=lambda: self.partitions,
            noted=NOTED,
            clock=self.clock,
            ticks=self.clock,
        )

    def shard(self, number: int, learner: Ridge | None = None, **noted: Any) -> Shard:
        return Shard(self.live, number, self.clock, learner, **noted)

    def turn(self, seconds: float = 1.0) -> bool:
        self.clock.now += seconds
        return self.merger.turn()

    def served(self) -> ServedVersion:
        self.server.look()
        assert self.server.current is not None
        return self.server.current

    def reason(self) -> str:
        return self.health.now().reason


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    made = Model(tmp_path)
    yield made
    made.merger.close()


def assert_knows(served: ServedVersion, *shards: Shard) -> None:
    """The version answers as one learner of all events of these shards."""
    whole = ridge(refresh_events=1, solver="cholesky")
    whole.learn(join([batch for shard in shards for batch in shard.log]))
    asked = events(99)
    mine, theirs = served.predictor, whole.predictor()
    order = [mine.classes.index(name) for name in theirs.classes]
    got = mine.predict(asked.inputs)["scores"][:, order]
    np.testing.assert_allclose(got, theirs.predict(asked.inputs)["scores"], rtol=0, atol=1e-9)


def test_a_version_is_the_sum_of_its_shards_and_says_which_they_were(model: Model) -> None:
    one, other = model.shard(0), model.shard(12)
    one.learn(events(1))
    one.publisher.confirm(800.0)
    other.learn(events(2, names=("c", "a")))
    model.clock.now += 1.0
    other.learn(events(3, 10))
    other.publisher.confirm(900.0)

    assert model.turn()

    served = model.served()
    assert (served.info.version, served.info.learned_events, served.info.event_time) == (3, 70, 40.0)
    assert served.shards == {0: 1, 12: 2}
    assert served.info.as_of == 800.0
    assert_knows(served, one, other)
    assert model.health.now().state is Condition.RUNNING


def test_shards_that_have_learned_nothing_are_version_zero_of_a_model_that_knows_no_class(model: Model) -> None:
    shards = [model.shard(number) for number in range(2)]
    for shard in shards:
        shard.publisher.publish(shard.learner.predictor(), version=0, learned_events=0, event_time=0.0)

    assert model.turn()
    assert model.served().info.version == 0
    assert model.served().predictor.predict(events(1, 3).inputs)["label"].tolist() == [-1, -1, -1]

    model.clock.now += 1.0
    shards[0].learn(events(1))
    assert model.turn()
    assert model.served().info.version == 1


def test_without_news_nothing_is_published_and_staleness_follows_the_least_fresh_shard(model: Model) -> None:
    one, other = model.shard(0), model.shard(1)
    one.learn(events(1), as_of=700.0)
    other.learn(events(2), as_of=710.0)
    assert model.turn()

    one.publisher.confirm(720.0)

    assert not model.turn()
    assert (model.served().info.version, model.served().info.as_of) == (2, 710.0)


def test_many_versions_of_shards_are_merged_at_most_every_so_often(model: Model) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    assert model.turn()

    model.clock.now += 0.5
    shard.learn(events(2))

    assert model.turn(0.0)
    model.clock.now += 0.6
    shard.learn(events(3))
    model.merger._not_before = model.clock.now + 0.5
    assert not model.turn(0.4)
    assert model.turn(0.2)
    assert_knows(model.served(), shard)


def test_a_shard_that_comes_late_joins_and_one_that_is_awaited_is_named(tmp_path: Path) -> None:
    model = Model(tmp_path, (0, 1))
    first = model.shard(0)
    first.learn(events(1), as_of=700.0)
    assert model.turn()
    assert model.reason() == "shard 1: it has published nothing here yet"
    assert model.served().info.as_of == 0.0, "nobody knows how far the other one is"

    late = model.shard(1)
    late.learn(events(2, names=("d",)))

    assert model.turn()
    assert_knows(model.served(), first, late)
    assert model.health.now().state is Condition.RUNNING
    model.merger.close()


def test_a_shard_whose_folder_vanishes_stays_merged_and_is_named(model: Model) -> None:
    one, other = model.shard(0), model.shard(1)
    one.learn(events(1))
    other.learn(events(2))
    model.turn()

    shutil.rmtree(model.live / "m~1")
    one.learn(events(3))

    assert model.turn()
    assert_knows(model.served(), one, other)
    assert model.reason() == "shard 1: it is not published on this host any more (its version 1 stays merged)"


def test_a_damaged_version_of_a_shard_is_named_and_the_one_before_stays_merged(model: Model) -> None:
    one, other = model.shard(0), model.shard(1)
    one.learn(events(1))
    other.learn(events(2))
    model.turn()
    before = list(other.log)
    model.clock.now += 1.0
    other.learn(events(3))
    file = max((model.live / "m~1").glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    one.learn(events(4))

    assert model.turn()

    assert model.served().shards == {0: 2, 1: 1}
    assert "shard 1: its version 2 cannot be read" in model.reason()
    assert "(its version 1 stays merged)" in model.reason()
    other.log = before
    assert_knows(model.served(), one, other)

    model.clock.now += 1.0
    other.log = [*before, events(3)]
    other.learn(events(5))
    assert model.turn()
    assert_knows(model.served(), one, other)
    assert model.health.now().state is Condition.RUNNING


@pytest.mark.parametrize(
    ("noted", "reason"),
    [
        ({"settings_sha256": "another"}, "it was made under other settings: settings_sha256 another, expected same"),
        ({"layouts": {"ridge": 9}}, "state layout 9 of ridge, this version reads"),
    ],
)
def test_a_shard_of_other_settings_is_left_out_and_named(model: Model, noted: Any, reason: str) -> None:
    one, other = model.shard(0), model.shard(1, **noted)
    one.learn(events(1))
    other.learn(events(2))

    assert model.turn()

    assert_knows(model.served(), one)
    assert f"shard 1: {reason}" in model.reason()


def test_a_shard_that_cannot_be_merged_any_more_stays_at_what_was_merged(model: Model) -> None:
    one, other = model.shard(0), model.shard(1)
    one.learn(events(1))
    other.learn(events(2))
    model.turn()
    before = list(other.log)

    other.learner.raise_forgetting(2.0, 10)
    model.clock.now += 1.0
    other.learn(events(3))
    one.learn(events(4))

    assert model.turn()
    other.log = before
    assert_knows(model.served(), one, other)
    assert "shard 1: cannot merge: forgetting was raised" in model.reason()
    version = model.served().info.version
    assert not model.turn(), "it is not tried again and again"
    assert model.served().info.version == version


def test_the_only_shard_that_cannot_be_merged_leaves_what_is_published(model: Model) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    model.turn()
    shard.learner.raise_forgetting(2.0, 10)
    model.clock.now += 1.0
    shard.learn(events(2))

    assert not any(model.turn() for _ in range(3))
    assert model.served().shards == {0: 1}
    assert "forgetting was raised" in model.reason()


def test_a_shard_that_fell_back_is_merged_again_once_it_has_caught_up(model: Model) -> None:
    shard = model.shard(0)
    for seed in range(3):
        model.clock.now += 1.0
        shard.learn(events(seed))
    model.turn()

    moved = model.shard(0)  # on a host that had the state of the first event only
    moved.learn(events(0))
    assert not model.turn()
    assert "30 events, fewer than the 90 that are merged" in model.reason()
    assert model.served().info.learned_events == 90

    moved.learn(join([events(1), events(2)]))  # in other blocks: its version is lower than before
    assert model.turn()
    assert model.served().info.version == 4
    assert_knows(model.served(), moved)
    assert model.health.now().state is Condition.RUNNING


def test_a_shard_that_an_operator_rolled_back_is_merged_as_it_is_now(model: Model) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    early, first = shard.learner.state(), list(shard.log)
    early = State({name: tensor.copy() for name, tensor in early.tensors.items()}, early.meta)
    model.clock.now += 1.0
    shard.learn(events(2))
    model.turn()

    shard.learner.restore(early)
    shard.log = first
    shard.version += 1
    model.clock.now += 1.0
    shard.publisher.publish(shard.learner.predictor(), version=shard.version, learned_events=30, event_time=30.0)

    assert model.turn()
    assert model.served().info.learned_events == 30
    assert_knows(model.served(), shard)


def test_a_silent_shard_is_away_and_one_that_confirms_is_not(model: Model) -> None:
    one, other = model.shard(0), model.shard(1)
    one.learn(events(1))
    other.learn(events(2))
    model.turn()

    for _ in range(4):
        model.clock.now += 10.0
        other.publisher.confirm(model.clock.now - 5.0)
        model.turn(0.0)

    assert model.reason() == "shard 0: nothing was heard of it for more than 30 s (its version 1 stays merged)"
    one.publisher.confirm(model.clock.now)
    model.turn()
    assert model.health.now().state is Condition.RUNNING


def test_after_a_restart_versions_go_on_and_the_same_is_not_published_again(model: Model) -> None:
    one, other = model.shard(0), model.shard(1)
    one.learn(events(1))
    other.learn(events(2))
    model.turn()
    model.merger.close()

    model.restart()

    assert not model.turn()
    assert model.served().info.version == 2
    model.clock.now += 1.0
    one.learn(events(3))
    assert model.turn()
    assert (model.served().info.version, model.served().shards) == (3, {0: 2, 1: 1})
    assert_knows(model.served(), one, other)


def test_after_a_restart_shards_of_the_last_version_are_awaited_for_a_while_and_no_version_is_lower(
    model: Model,
) -> None:
    one, other = model.shard(0), model.shard(1)
    for seed in range(5):
        model.clock.now += 1.0
        other.learn(events(seed))
    one.learn(events(9))
    model.turn()
    assert model.served().info.version == 6
    model.merger.close()
    shutil.rmtree(model.live / "m~1")

    model.restart()
    model.clock.now += 1.0
    one.learn(events(10))
    assert not model.turn()
    assert model.reason() == "shard 1: it has published nothing here yet"

    assert model.turn(31.0), "the others go on without it"
    assert model.served().info.version == 7
    assert_knows(model.served(), one)


def test_of_two_mergers_one_merges_and_the_other_goes_on_when_it_ends(model: Model) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    assert model.turn()
    first = model.merger
    model.restart()
    model.clock.now += 1.0
    shard.learn(events(2))

    assert not model.turn()
    assert model.health.now().state is Condition.RUNNING
    first.close()

    assert model.turn()
    assert model.served().info.version == 2
    assert_knows(model.served(), shard)


def test_a_merger_whose_folder_is_emptied_publishes_anew(model: Model) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    model.turn()
    shutil.rmtree(model.live / "m")

    assert model.turn()

    server = FileSubscriber(model.live / "m", Ridge.predictor_from)
    server.look()
    assert server.current is not None
    assert server.current.info.version == 2, "versions only grow"
    assert_knows(server.current, shard)


def test_a_version_of_before_under_other_settings_is_replaced_at_once(model: Model, tmp_path: Path) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    model.turn()
    model.merger.close()
    NOTED["settings_sha256"] = "changed"
    try:
        changed = model.shard(0)
        changed.learn(events(2))
        model.restart()

        assert model.turn()
    finally:
        NOTED["settings_sha256"] = "same"
    assert (model.served().info.version, model.served().shards) == (2, {0: 1})
    assert_knows(model.served(), changed)


def test_a_merged_version_that_cannot_be_written_leaves_the_one_before_and_is_written_later(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    model.turn()
    model.clock.now += 1.0
    shard.learn(events(2))

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("thalweg.stream.publication.file_channel.write_state", full)
        assert not model.turn()
    assert model.served().info.version == 1
    assert "a version cannot be published: no space left on device" in model.reason()

    assert model.turn(2.0)
    assert model.served().info.version == 2
    assert model.health.now().state is Condition.RUNNING


def test_a_shard_hands_on_its_state_at_most_every_so_often_and_the_last_one_when_it_is_idle(model: Model) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    shard.learn(events(2))
    assert FolderShards(model.live, "m").newest()[0].info.version == 1  # type: ignore[union-attr]

    shard.publisher.confirm(900.0)  # too soon, so what is published does not contain all of the log
    seen = FolderShards(model.live, "m").newest()[0].info
    assert seen is not None
    assert (seen.version, seen.as_of) == (1, 0.0)

    model.clock.now += 0.5
    shard.publisher.confirm(900.0)

    seen = FolderShards(model.live, "m").newest()[0].info
    assert seen is not None
    assert (seen.version, seen.as_of) == (2, 900.0)


def test_the_state_of_a_shard_survives_its_folder_being_emptied(model: Model) -> None:
    shard = model.shard(0)
    shard.learn(events(1))
    model.turn()
    shutil.rmtree(model.live / "m~0")

    model.clock.now += 1.0
    shard.learn(events(2))

    assert model.turn()
    assert_knows(model.served(), shard)


def test_folders_of_other_models_and_predictors_are_no_shards_of_this_one(model: Model) -> None:
    for name in ("m~x", "m~1~2", "am~1", "m", "m.b~1", "m~", "m~01"):
        (model.live / name).mkdir(exist_ok=True)

    assert FolderShards(model.live, "m").newest() == {}


def test_states_that_stand_still_are_merged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def taught(seed: int) -> State:
        learner = ridge()
        for name in ("a", "b"):  # in one order everywhere: else a merge in another order is done again
            learner.learn(events(seed, 1, (name,)))
        learner.learn(events(seed))
        return learner.state()

    states = {number: taught(number) for number in range(6)}
    added: list[int] = []
    merge = Ridge.merge
    monkeypatch.setattr(Ridge, "merge", lambda self, state: (added.append(1), merge(self, state))[1])
    merged = MergedStates(ridge)

    def merges() -> int:
        added.clear()
        learner, refused = merged.merged(states)
        assert not refused
        whole = ridge()
        for state in states.values():
            merge(whole, state)
        a, b = learner.predictor(), whole.predictor()
        order = [a.classes.index(name) for name in b.classes]
        inputs = events(50).inputs
        np.testing.assert_allclose(
            a.predict(inputs)["scores"][:, order], b.predict(inputs)["scores"], rtol=0, atol=1e-9
        )
        return len(added)

    def change(number: int) -> None:
        states[number] = taught(100 + number)

    assert merges() == 6
    change(2)
    assert merges() == 6, "five are kept merged, and one is added"
    change(2)
    assert merges() == 1
    change(2)
    assert merges() == 1
    change(0)
    change(2)
    assert merges() == 6, "the others are kept anew"
    change(2)
    assert merges() == 2, "the first stands still again"
    change(2)
    assert merges() == 1


def test_classes_stay_where_they_are_whichever_shard_has_news(model: Model) -> None:
    shards = [model.shard(number) for number in range(3)]
    for shard, name in zip(shards, "abc", strict=True):
        shard.learn(events(0, names=(name,)))
    assert model.turn()
    assert model.served().predictor.classes == ("a", "b", "c")
    for number in (0, 1, 2, 1, 0, 0):
        shards[number].learn(events(number, names=("abc"[number],)))
        assert model.turn()
        assert model.served().predictor.classes == ("a", "b", "c")
    model.merger.close()
    model.restart()
    shards[2].learn(events(2, names=("c", "d")))
    assert model.turn()
    assert model.served().predictor.classes == ("a", "b", "c", "d")


def test_what_kept_a_shard_from_being_read_once_is_forgotten(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = model.shard(0)
    shard.learn(events(0), as_of=1.0)
    assert model.turn()
    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        model.turn()
    assert "its announcement cannot be read: [Errno 24] Too many open files" in model.reason()
    model.turn()
    assert model.health.now().state is Condition.RUNNING


def test_it_runs_as_a_supervised_thread_beside_shards_that_learn(tmp_path: Path) -> None:
    health, stopping = Health("merger", "m"), threading.Event()

    def make() -> Learner:
        return ridge()

    merger = Merger(make, FolderShards(tmp_path, "m"), tmp_path / "m", 0.01, health, stopping, noted=NOTED)
    thread = SupervisedThread(merger.run, health, "merger-m")
    thread.start()
    until("it has begun", lambda: health.now().state is Condition.WAITING)
    shards = []
    for number in range(3):
        clock = Clock()
        shards.append(Shard(tmp_path, number, clock))
        shards[-1].learn(events(number))
    server = FileSubscriber(tmp_path / "m", Ridge.predictor_from)

    def newest() -> bool:
        server.look()
        return server.current is not None and server.current.shards == {0: 1, 1: 1, 2: 1}

    until("all are merged", newest)
    merger.stop()
    thread.stop()

    assert thread.join(PATIENCE)
    assert server.current is not None
    assert_knows(server.current, *shards)
    assert read_state(max((tmp_path / "m").glob("*.safetensors"))).meta["shards"]["1"]["version"] == 1


def test_shards_of_which_nothing_was_ever_heard_are_named_in_one_line(tmp_path: Path) -> None:
    model = Model(tmp_path, (0, 1, 2, 3))
    for number in (0, 1):
        model.shard(number).learn(events(number))
    assert model.turn()
    assert model.health.now().state is Condition.DEGRADED
    assert model.reason() == "shards 2, 3 have published nothing here"
    model.merger.close()
