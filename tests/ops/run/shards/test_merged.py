"""A learner process whose shards are merged: servers get one model of all partitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.run.shards.test_shards import appended, configuration, counts, keyed
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.learning import Learning
from thalweg.stream.health.registry import Condition, HealthRegistry
from thalweg.stream.publication.file_channel import FileSubscriber


def test_what_a_process_serves_is_one_model_of_all_its_partitions_also_after_a_restart(tmp_path: Path) -> None:
    log = PartitionedLog(3)
    config = configuration(tmp_path, "one", "[model.scale]\nmerge_seconds = 0.05\n")
    live = Path(config.service.state_dir) / "live"
    live.mkdir(parents=True)
    server = FileSubscriber(live / "clicks", Ridge.predictor_from)
    versions = []

    def served(events: int) -> bool:
        server.look()
        if server.current is None:
            return False
        versions.append(server.current.info.version)
        return server.current.info.learned_events == events

    for turn in range(2):
        registry = HealthRegistry()
        learning = Learning(config, log, InMemoryCommandQueue(), live, registry)
        learning.start()
        try:
            appended(log, 300, 300 * turn)
            until("all is served", lambda turn=turn: served(300 * (turn + 1)))  # type: ignore[misc]
            health = {one.component: one.state for one in registry.report() if one.model == "clicks"}
            assert health["merger"] is Condition.RUNNING
        finally:
            learning.close()

    assert versions == sorted(versions)
    assert server.current is not None
    assert set(server.current.shards) == set(counts(log))
    one = new_learner(config.model[0])
    for turn in (1, 0):
        one.learn(keyed(300, 300 * turn))
    alone = new_learner(config.model[0])
    capability(alone, Mergeable).merge(one.state())  # type: ignore[union-attr]
    asked, theirs, mine = keyed(20, 900).inputs, alone.predictor(), server.current.predictor
    order = [mine.classes.index(name) for name in theirs.classes]
    scores = mine.predict(asked)["scores"][:, order]
    np.testing.assert_allclose(scores, theirs.predict(asked)["scores"], rtol=0, atol=1e-6)  # float32
