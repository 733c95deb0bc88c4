"""A changed model: the saved version goes on, its successor is built beside it, and takes over when it is promoted."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.samples import FEATURES, events
from tests.services.processes import until
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots
from thalweg.models.contract import registry as learners
from thalweg.models.contract.registry import BuiltIn
from thalweg.ops.cli.produce import messages
from thalweg.ops.cli.promote import promote
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import new_learner, settings_of
from thalweg.ops.run.champions.saved_states import changes
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.serving import alias_locations, build_server, location_of
from thalweg.ops.run.successors import answering, generations, generations_path, with_successors
from thalweg.ops.serve.aliases import VERSIONS_PER_PROMOTION, Alias
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.server import Server
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto import thalweg_pb2_grpc
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch, Decoded
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.publication.live_folder import live_folder

X = np.eye(FEATURES, dtype=np.float32)[:1]


def configuration(folder: Path, gamma: float = 1.0, more: str = "", name: str = "fraud") -> Config:
    path = folder / "thalweg.toml"
    path.write_text(
        f'[service]\ngrpc = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\nstate_dir = "{folder}/state"\n'
        f'[store]\nurl = "sqlite:{folder}/store.db"\n[[model]]\nname = "{name}"\ntopic = "t"\nlearner = "ridge"\n'
        f'snapshot_events = 10\nbatch_events = 4\ninputs.features = {{ shape = [{FEATURES}], dtype = "float32" }}\n'
        f"params.gamma = {gamma}\n{more}\n"
    )
    return load(path, {})


@contextmanager
def learning(config: Config, log: InMemoryLog) -> Iterator[HealthRegistry]:
    registry = HealthRegistry()
    live = live_folder(Path(config.service.state_dir))
    made = Learning(config, log, InMemoryCommandQueue(), live, registry)
    made.start()
    try:
        yield registry
    finally:
        made.close()


@contextmanager
def serving(config: Config) -> Iterator[Models]:
    """The models and names as a server has them."""
    config, live = with_successors(config, record=True), live_folder(Path(config.service.state_dir))
    models = Models([location_of(config, model, live) for model in config.model])
    models.serve_under([Alias(alias, models.by_name) for alias in alias_locations(config)])
    models.start()
    try:
        yield models
    finally:
        models.close()


def saved(config: Config, model: str) -> int:
    kept = FolderSnapshots(Path(config.service.state_dir) / model).manifests()
    return kept[-1].events_learned if kept else 0


def state(config: Config, model: str) -> str:
    return FolderSnapshots(Path(config.service.state_dir) / model).manifests()[-1].state_sha256


def asked(models: Models) -> int:
    request = InferenceRequest(RequestOptions("fraud"), {"features": X}, 5.0)
    return InferenceCore(models).infer(request).served.info.version


@pytest.fixture
def log() -> InMemoryLog:
    made = InMemoryLog()
    made.append("t", messages(events(40), 1))
    return made


@pytest.fixture(autouse=True)
def _live_folders(tmp_path: Path) -> Iterator[None]:
    yield
    for link in tmp_path.glob("**/live"):
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)


def begun(folder: Path, log: InMemoryLog, more: str = "") -> Config:
    """A model that has learned 40 events, and its configuration with another parameter."""
    before = configuration(folder, more=more)
    with learning(before, log):
        until("it to learn", lambda: saved(before, "fraud") == 40)
    return configuration(folder, gamma=0.5, more=more)


def test_both_learn_on_and_the_successor_is_what_a_model_of_its_settings_alone_becomes(
    tmp_path: Path, log: InMemoryLog
) -> None:
    (tmp_path / "alone").mkdir()
    after = begun(tmp_path, log)

    with learning(after, log):
        log.append("t", messages(events(20, 40), 1))
        until("both to learn everything", lambda: saved(after, "fraud") == saved(after, "fraud@2") == 60)
    new, old = configuration(tmp_path / "alone", 0.5, name="new"), configuration(tmp_path / "alone", 1.0, name="old")
    for config, name in ((new, "new"), (old, "old")):
        with learning(config, log):
            until("it to learn", lambda config=config, name=name: saved(config, name) == 60)

    assert state(after, "fraud@2") == state(new, "new")
    assert state(after, "fraud") == state(old, "old")
    assert state(after, "fraud") != state(after, "fraud@2")


def test_requests_are_answered_by_the_saved_version_then_by_its_successor_and_back(
    tmp_path: Path, log: InMemoryLog, capsys: pytest.CaptureFixture[str]
) -> None:
    after = begun(tmp_path, log)
    with learning(after, log), serving(after) as models:
        until("both to learn", lambda: saved(after, "fraud") == saved(after, "fraud@2") == 40)
        until("both are loaded", lambda: all(not model.unready() for model in models.all()))
        seen = [asked(models)]
        assert models.find("fraud").answering.name == "fraud"

        promote(after, None, "fraud", back=False, force=False)
        until("the successor answers", lambda: models.find("fraud").answering.name == "fraud@2")
        seen.append(asked(models))
        log.append("t", messages(events(20, 40), 1))
        until("both to learn on", lambda: saved(after, "fraud") == saved(after, "fraud@2") == 60)
        assert answering(after, "fraud")[1] == "fraud@2"
        promote(after, None, "fraud", back=True, force=False)
        until("the version before answers", lambda: models.find("fraud").answering.name == "fraud")
        seen.append(asked(models))

    assert seen == sorted(seen)
    assert [version // VERSIONS_PER_PROMOTION for version in seen] == [0, 1, 2]
    assert "accuracy" in (told := capsys.readouterr().out)
    assert "fraud: fraud@2 answers in place of fraud (promotion 1)" in told


def test_after_a_restart_the_promoted_successor_answers_and_the_version_before_stays_to_go_back_to(
    tmp_path: Path, log: InMemoryLog
) -> None:
    after = begun(tmp_path, log)
    with learning(after, log), serving(after):
        until("it to learn", lambda: saved(after, "fraud@2") == 40)
        promote(after, None, "fraud", back=False, force=False)

    with learning(after, log), serving(after) as models:
        assert models.find("fraud").answering.name == "fraud@2"
        log.append("t", messages(events(20, 40), 1))
        until("both to learn on", lambda: saved(after, "fraud") == saved(after, "fraud@2") == 60)

    alone = with_successors(configuration(tmp_path, 0.5, more="keep_previous = false"), record=False)
    assert [model.name for model in alone.model] == ["fraud@2"]
    third = with_successors(configuration(tmp_path, 0.25), record=True)
    assert [(model.name, model.params["gamma"]) for model in third.model] == [
        ("fraud@2", 0.5),
        ("fraud@3", 0.25),
        ("fraud", 1.0),
    ]


def test_with_the_old_settings_put_back_there_is_one_model_again(tmp_path: Path, log: InMemoryLog) -> None:
    after = begun(tmp_path, log)
    with learning(after, log):
        until("it to learn", lambda: saved(after, "fraud@2") == 40)

    back = configuration(tmp_path, 1.0)

    assert [model.name for model in with_successors(back, record=True).model] == ["fraud"]
    assert list(changes(back)) == []
    with pytest.raises(Failed, match="has no successor"):
        promote(back, None, "fraud", back=False, force=False)


def test_what_was_changed_is_told_with_both_values(tmp_path: Path, log: InMemoryLog) -> None:
    after = begun(tmp_path, log)

    told = "\n".join(changes(after))

    assert "params.gamma: was 1.0, is 0.5" in told
    assert "`thalweg promote CONFIG --model fraud`" in told
    assert not generations_path(after, "fraud").exists()  # to look changes nothing


def test_where_the_log_no_longer_reaches_back_that_is_told_and_the_successor_is_built_from_there(
    tmp_path: Path, log: InMemoryLog, capsys: pytest.CaptureFixture[str]
) -> None:
    after = begun(tmp_path, log)
    log.delete_before("t", 25)

    with learning(after, log), serving(after):
        until("it to learn", lambda: saved(after, "fraud@2") == 15)
        promote(after, None, "fraud", back=False, force=True)

    assert generations(generations_path(after, "fraud"))[1].begins == {"t/0": 25}
    assert "fraud@2: built from offset 25 of t/0 on; earlier records were deleted" in capsys.readouterr().out


def test_a_successor_that_has_learned_nothing_is_not_promoted(tmp_path: Path, log: InMemoryLog) -> None:
    after = begun(tmp_path, log)
    with_successors(after, record=True)

    with pytest.raises(Failed, match="it has published no version: is the service running"):
        promote(after, None, "fraud", back=False, force=False)
    with pytest.raises(Failed, match="there is no champion before fraud"):
        promote(after, None, "fraud", back=True, force=False)


def test_a_saved_version_whose_learner_is_gone_blocks_the_model_and_says_why(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(learners.BUILT_IN, "plug-in", BuiltIn("thalweg.models.ridge.learner:Ridge", "a plug-in"))
    path = configuration(tmp_path) and tmp_path / "thalweg.toml"
    path.write_text(path.read_text().replace('"ridge"', '"plug-in"'))
    before = load(path, {})
    with learning(before, log):
        until("it to learn", lambda: saved(before, "fraud") == 40)
    monkeypatch.delitem(learners.BUILT_IN, "plug-in")
    after = configuration(tmp_path)

    with learning(after, log) as registry:
        reason = until(
            "it to be told", lambda: next((one.reason for one in registry.report() if one.component == "learner"), "")
        )

    assert 'learner: was "plug-in", is "ridge"' in reason
    assert "cannot go on under them: no learner is called 'plug-in'" in reason
    assert saved(after, "fraud") == 40


def test_a_model_that_refuses_changes_is_blocked(tmp_path: Path, log: InMemoryLog) -> None:
    after = begun(tmp_path, log, more='on_change = "refuse"')

    with learning(after, log) as registry:
        reason = until(
            "it to be told", lambda: next((one.reason for one in registry.report() if one.component == "learner"), "")
        )
    assert "params.gamma: was 1.0, is 0.5" in reason
    assert "The model is blocked" in "\n".join(changes(after))


def test_a_successor_learns_a_file_of_history_before_the_log_and_restarts_where_it_was(
    tmp_path: Path, log: InMemoryLog
) -> None:
    older, whole = tmp_path / "older.jsonl", InMemoryLog()
    older.write_bytes(b"\n".join(message.value or b"" for message in messages(events(40), 1)))
    for start, count in ((0, 40), (40, 12), (52, 12)):
        whole.append("t", messages(events(count, start), 1))
    log.delete_before("t", 40)
    log.append("t", messages(events(12, 40), 1))
    before = configuration(tmp_path)
    with learning(before, log):
        until("it to learn", lambda: saved(before, "fraud") == 12)
    after = configuration(tmp_path, 0.5, more=f'history = "{older}"')
    with learning(after, log):
        until("it to learn", lambda: saved(after, "fraud@2") == 52)
    log.append("t", messages(events(12, 52), 1))
    with learning(after, log):
        until("it to learn on", lambda: saved(after, "fraud@2") == 64)
    (tmp_path / "alone").mkdir()
    alone = configuration(tmp_path / "alone", 0.5)
    with learning(alone, whole):
        until("it to learn", lambda: saved(alone, "fraud") == 64)

    assert state(after, "fraud@2") == state(alone, "fraud")
    assert saved(after, "fraud") == 24  # the version before has begun without it


def test_a_file_of_history_that_cannot_be_read_is_told_and_the_saved_version_goes_on(
    tmp_path: Path, log: InMemoryLog
) -> None:
    begun(tmp_path, log)
    after = configuration(tmp_path, 0.5, more='history = "nowhere.jsonl"')
    log.append("t", messages(events(20, 40), 1))

    with learning(after, log) as registry:
        until("the saved version to learn on", lambda: saved(after, "fraud") == 60)
        reason = until(
            "it to be told",
            lambda: next((r.reason for r in registry.report() if (r.component, r.model) == ("learner", "fraud@2")), ""),
        )
    assert "model.fraud@2.history: nowhere.jsonl" in reason


@contextmanager
def service(config: Config, log: InMemoryLog) -> Iterator[Server]:
    """Learners and a server in this process, with everything between them."""
    commands = InMemoryCommandQueue()
    learning = Learning(config, log, commands, live_folder(Path(config.service.state_dir)), HealthRegistry())
    learning.start()
    server = build_server(config, log, commands)
    server.start()
    try:
        yield server
    finally:
        server.close()
        learning.close()


def learned(server: Server, model: str) -> int:
    served = server.models.find(model).versions.newest
    return 0 if served is None else served.info.learned_events


def test_late_labels_reach_both_over_a_promotion_and_each_is_graded_by_its_own_answers(
    tmp_path: Path, log: InMemoryLog
) -> None:
    after = begun(tmp_path, log, more='labels_topic = "labels"')
    with service(after, log) as server:
        until("both to learn", lambda: learned(server, "fraud@1") == learned(server, "fraud@2") == 40)
        core = InferenceCore(server.models)
        core.infer(InferenceRequest(RequestOptions("fraud", event_id="late-1"), {"features": X}))
        promote(after, None, "fraud", back=False, force=False)
        until("the successor answers", lambda: server.models.find("fraud").answering.name == "fraud@2")
        core.infer(InferenceRequest(RequestOptions("fraud", event_id="late-2"), {"features": X}))
        label = json.loads(messages(events(1), 1)[0].value or b"")["label"]
        log.append("labels", [Message(json.dumps({"id": id, "label": label}).encode()) for id in ("late-1", "late-2")])
        until("both to learn both", lambda: learned(server, "fraud@1") == learned(server, "fraud@2") == 42)
        schema = server.models.find("fraud").schema
        with closing(log.reader(["fraud.joined"], {})) as reader:
            runs = until("the joined events", lambda: reader.poll(1.0))

    batches = [Decoder(schema).decode(run).batch for run in runs]
    answers = [one for batch in batches for one in batch.served or ()]
    assert [one.model for one in answers if one is not None] == ["", "fraud@2"]
    graded = {model: _graded(after, model, batches) for model in ("fraud", "fraud@2")}
    assert graded == {"fraud": [True, False], "fraud@2": [False, True]}


def _graded(config: Config, model: str, batches: list[Batch]) -> list[bool]:
    """Which events a model grades by the answer that was served."""
    found: list[bool] = []

    class Notes(Prequential):
        def predicted(self, batch: Batch, predictor: object, outputs: object) -> None:
            found.extend(one is not None for one in batch.served or ())

    found_config = with_successors(config, record=False).find(model)
    fold = Fold(new_learner(found_config), InMemorySnapshots(), settings_of(found_config, 1 << 20), Notes())
    fold.apply(DecodedBlock(1, 4, [Decoded(batch, []) for batch in batches], {}))
    return found


def test_a_promoted_successor_is_saved_and_rolled_back_under_its_name(tmp_path: Path, log: InMemoryLog) -> None:
    after = begun(tmp_path, log)
    with service(after, log) as server:
        until("both to learn", lambda: learned(server, "fraud@1") == learned(server, "fraud@2") == 40)
        promote(after, None, "fraud", back=False, force=False)
        until("the successor answers", lambda: server.models.find("fraud").answering.name == "fraud@2")
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = thalweg_pb2_grpc.LearningServiceStub(channel)
            kept = stub.Snapshot(pb.SnapshotRequest(model="fraud")).version
            listed = [one.version for one in stub.ListSnapshots(pb.ListSnapshotsRequest(model="fraud")).snapshots]
            back = stub.Rollback(pb.RollbackRequest(model="fraud", version=kept)).version
            with pytest.raises(grpc.RpcError) as caught:
                stub.Rollback(pb.RollbackRequest(model="fraud", version=0))
            until("the version to be served", lambda: asked(server.models) == back)

    assert kept > VERSIONS_PER_PROMOTION
    assert kept in listed
    assert back == kept + 1
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "a champion before 'fraud@2'" in caught.value.details()


def test_columns_are_added_and_removed_without_a_refused_request(tmp_path: Path) -> None:
    def configured(columns: str) -> Config:
        text = configuration(tmp_path) and (tmp_path / "thalweg.toml").read_text()
        kept = [line for line in text.splitlines() if not line.startswith(("inputs", "params"))]
        (tmp_path / "thalweg.toml").write_text("\n".join(kept) + f"\n[model.columns]\n{columns}\n")
        return load(tmp_path / "thalweg.toml", {})

    log = InMemoryLog()
    rows = [{"amount": i % 7, "country": "DE" if i % 2 else "FR", "device": "app", "label": i % 2} for i in range(40)]
    log.append("t", [Message(json.dumps(row).encode()) for row in rows])
    before = configured('amount = "numeric"\ncountry = "categorical"')
    with learning(before, log):
        until("it to learn", lambda: saved(before, "fraud") == 40)
    after = configured('country = "categorical"\ndevice = "categorical"')

    told = "\n".join(changes(after))
    assert "columns.amount" in told
    assert "columns.device" in told
    with service(after, log) as server:
        until("both to learn", lambda: learned(server, "fraud@1") == learned(server, "fraud@2") == 40)

        def ask(row: dict[str, object]) -> int:
            url = f"http://127.0.0.1:{server.http_port}/v1/models/fraud/predict"
            with urllib.request.urlopen(url, json.dumps(row).encode()) as answer:
                return int(json.loads(answer.read())["version"])

        def ask_all() -> list[int]:
            old, new = {"amount": 3.0, "country": "DE"}, {"country": "DE", "device": "app"}
            return [ask(old), ask(new), ask(old | new)]

        first = ask_all()
        promote(after, None, "fraud", back=False, force=False)
        until("the successor answers", lambda: server.models.find("fraud").answering.name == "fraud@2")
        second = ask_all()

    assert max(first) < VERSIONS_PER_PROMOTION < min(second)
