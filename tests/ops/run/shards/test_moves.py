"""What a process keeps of a shard that comes and goes: nothing."""

from __future__ import annotations

import gc
import uuid
import weakref
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.ops.run.shards.test_shards import GROUP, TOPIC, appended, counts, host, keyed, learned
from tests.samples import FEATURES
from tests.services import warm
from tests.services.processes import until
from tests.soak.resources import Resources, resources
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.open import open_log

MOVES = 7


class Taken:
    """Listener of a member that takes partitions away, and learns nothing."""

    def __init__(self) -> None:
        self.owned: set[int] = set()

    def assigned(self, numbers: Collection[int]) -> None:
        self.owned |= set(numbers)

    def revoked(self, numbers: Collection[int]) -> None:
        self.owned -= set(numbers)

    lost = revoked


def processors() -> Iterator[Processor]:
    return (one for one in gc.get_objects() if type(one) is Processor)


def test_a_shard_that_has_left_takes_its_memory_with_it(tmp_path: Path) -> None:
    before = {id(one) for one in processors()}
    log = PartitionedLog(2)
    appended(log, 100)
    with host(tmp_path, "first", log) as first:
        until("all of them", lambda: first.owned() == {0, 1})
        until("learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
        made = {one._settings.model: weakref.ref(one) for one in processors() if id(one) not in before}
        taken = Taken()
        other = log.member(TOPIC, GROUP, "other", taken)
        gc.collect()
        gc.disable()  # it may leave them for long, and it may not
        try:
            until("one to leave", lambda: (other.poll(0.05), bool(taken.owned))[1])
            (number,) = taken.owned
            until("it to be gone", lambda: made[f"clicks~{number}"]() is None)
            assert made[f"clicks~{1 - number}"]() is not None
        finally:
            gc.enable()


@pytest.mark.kafka
def test_a_process_that_loses_and_regains_a_shard_again_and_again_does_not_grow(
    tmp_path: Path, kafka_servers: str
) -> None:
    name = f"m-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({f"{name}.events": {"num_partitions": 2}})
    admin.close()
    config = tmp_path / "thalweg.toml"
    config.write_text(
        f'[service]\nrole = "learn"\nstate_dir = "{tmp_path}/state"\nstate_url = "file:{tmp_path}/objects"\n'
        f'[log]\nurl = "kafka://{kafka_servers}"\n'
        f'[[model]]\nname = "{name}"\nlearner = "ridge"\ntopic = "{name}.events"\nsnapshot_seconds = 0.2\n'
        f'inputs.features = {{ shape = [{FEATURES}], dtype = "float32" }}\n[model.scale]\nanswers = "key"\n'
    )
    with ExitStack() as stack:
        log = open_log(f"kafka://{kafka_servers}")
        stack.callback(log.close)
        output = stack.enter_context((tmp_path / "log").open("wb"))
        process = warm.start("serve", str(config), "--role", "learn", "--learner", "1", stdout=output, stderr=output)
        stack.callback(process.wait)
        stack.callback(process.kill)

        def events(number: int) -> int:
            kept = FolderSnapshots(tmp_path / "state" / f"{name}~{number}").manifests()
            return kept[-1].events_learned if kept else -1

        def learn_more(count: int) -> None:
            log.append(f"{name}.events", messages(keyed(50, count), 1))
            ends = {part.number: end for part, (_, end) in log.bounds(f"{name}.events").items()}
            until("both to be learned", lambda: all(events(number) == end for number, end in ends.items()))

        learn_more(0)
        seen: list[Resources] = []
        for move in range(1, MOVES + 1):
            taken = Taken()
            member = log.member(f"{name}.events", f"thalweg.{name}", "", taken)
            until("one to leave", lambda: (member.poll(0.05), bool(taken.owned))[1])  # noqa: B023
            member.close()
            learn_more(50 * move)
            found = resources(process.pid)
            assert found is not None
            seen.append(found)
    assert max(one.files for one in seen[-2:]) <= max(one.files for one in seen[:3]) + 6, (
        seen
    )  # a client is eight for each move
    assert max(one.threads for one in seen[-2:]) <= max(one.threads for one in seen[:3]) + 6, (
        seen
    )  # a client is eight for each move
