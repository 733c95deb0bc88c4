"""`thalweg promote` with an alias of two models: configured, refused where requests would be, and without a pause."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.ops.caller import Caller
from tests.ops.running import service
from tests.services import warm
from tests.services.processes import PATIENCE, stop, until
from thalweg.memory.audit import os_user
from thalweg.ops.cli.promote import promote
from thalweg.ops.config.config import load, parse
from thalweg.ops.config.effective import effective
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.failed import Failed
from thalweg.stream.journal.promotions import Promotions
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.publication.live_folder import live_folder

MODEL = '[[model]]\nname = "{name}"\ntopic = "{topic}"\nlearner = "{learner}"\ninputs.x = {{ shape = [{width}] }}\n'
ALIAS = '[[alias]]\nname = "{name}"\nchampion = "{champion}"\nchallengers = {challengers}\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "thalweg.toml"
    path.write_text(f'[service]\nstate_dir = "{folder}/state"\n{text}')
    return path


def model(name: str, topic: str = "t", learner: str = "ridge", width: int = 2) -> str:
    return MODEL.format(name=name, topic=topic, learner=learner, width=width)


def alias(name: str = "fraud", champion: str = "a", challengers: tuple[str, ...] = ("b",)) -> str:
    return ALIAS.format(name=name, champion=champion, challengers=json.dumps(challengers))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (alias("a"), "alias.a.name: a model has this name"),
        (alias() + alias(), "alias.fraud.name: another alias has this name"),
        (alias(champion="aa"), "alias.fraud.champion: no model is called 'aa'; did you mean 'a'?"),
        (alias(challengers=("b", "zzz")), "alias.fraud.challengers: no model is called 'zzz'; known: a, b, other"),
        (alias(challengers=("a",)), "alias.fraud.champion: 'a' is given twice"),
        (
            alias(challengers=("other",)),
            "alias.fraud.challengers: expected models of one topic, 't', got 'other' with 'u'",
        ),
        (alias().replace("champion", "champ"), "alias.fraud.champ: no such key; did you mean champion?"),
        (
            alias(challengers=()) + 'promotion = "auto"\n',
            "alias.fraud.challengers: expected at least one model to compare",
        ),
        (
            alias() + 'promotion = "auto"\n' + alias("second") + 'promotion = "auto"\n',
            "is compared under alias 'second' already",
        ),
        (alias() + 'promotion = "auto"\nalpha = 1\n', "alias.fraud.alpha: expected"),
        (alias() + 'promotion = "auto"\nloss = "rmse"\n', "alias.fraud.loss: expected"),
        (alias() + 'promotion = "automatic"\n', "alias.fraud.promotion: expected"),
        # what is wrong otherwise is told as well
        (alias("a") + "alpha = 1\n", "alias.a.name: a model has this name"),
        (alias(champion="aa") + "alph = 1\n", "alias.fraud.champion: no model is called 'aa'"),
        (
            alias(challengers=("zzz",)) + 'promotion = "automatic"\n',
            "alias.fraud.challengers: no model is called 'zzz'",
        ),
    ],
)
def test_mistakes_of_an_alias_are_told(tmp_path: Path, text: str, mistake: str) -> None:
    path = written(tmp_path, model("a") + model("b") + model("other", "u") + text)

    with pytest.raises(ConfigurationError) as caught:
        load(path, {})

    assert any(mistake in line for line in caught.value.mistakes), caught.value.mistakes


def test_an_alias_stands_in_the_effective_configuration_and_may_be_set_by_environment(tmp_path: Path) -> None:
    path = written(tmp_path, model("a") + model("b") + alias())

    config = load(path, {"THALWEG_ALIAS__FRAUD__CHAMPION": "b", "THALWEG_ALIAS__fraud__CHALLENGERS": '["a"]'})

    assert config.alias[0].members == ["b", "a"]
    assert parse(tomllib.loads(effective(config)), "f", {}) == config


def test_what_would_refuse_requests_is_not_promoted_unless_forced(tmp_path: Path) -> None:
    text = model("a") + model("b", width=3) + model("c") + model("d", learner="nearest_mean") + alias()
    path = written(tmp_path, text.replace('["b"]', '["b", "c", "d"]'))
    config = load(path, {})
    live = live_folder(Path(config.service.state_dir))
    for one, (learned, as_of) in {"a": (9, 1000.0), "b": (9, 1000.0), "c": (0, 1000.0), "d": (9, 900.0)}.items():
        publisher = FilePublisher(live / one)
        publisher.confirm(as_of)
        publisher.publish(new_learner(config.find(one)).predictor(), version=1, learned_events=learned, event_time=1.0)
        publisher.close()

    for name, why in (
        ("b", r"input 'x': it takes float32 \[3\], requests have float32 \[2\]"),
        ("c", "it has learned 0 events, and is ready after 1"),
        ("d", "it is 100 s behind a: it still learns from the log"),
    ):
        with pytest.raises(Failed, match=why):
            promote(config, "fraud", name, back=False, force=False)
    with pytest.raises(ConfigurationError, match="'z' is none of its models; known: a, b, c, d"):
        promote(config, "fraud", "z", back=False, force=False)
    with pytest.raises(ConfigurationError, match="no alias is called 'x'; known: fraud"):
        promote(config, "x", "b", back=False, force=False)
    with pytest.raises(Failed, match="a is the champion already"):
        promote(config, "fraud", "a", back=False, force=False)
    with pytest.raises(Failed, match="there is no champion before a"):
        promote(config, "fraud", None, back=True, force=False)
    promote(config, "fraud", "d", back=False, force=True)
    promote(config, "fraud", None, back=True, force=False)

    known = Promotions(tmp_path / "state" / ".aliases" / "fraud.jsonl").read()
    assert [one.champion for one in known] == ["a", "d", "a"]
    entries = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text().splitlines()]
    assert [(entry["subject"], entry["arguments"]["to"], entry["outcome"]) for entry in entries] == [
        ("fraud", "d", "done"),
        ("fraud", "a", "done"),
    ]
    assert {(entry["by"], entry["by_kind"]) for entry in entries} == {os_user()}
    shutil.rmtree(live.resolve())


@pytest.mark.parametrize(
    ("given", "back", "words"),
    [
        ("fraud", False, r"'fraud' is an alias: give --alias fraud with --model and one of its models \(a, b\)"),
        ("fraud", True, r"'fraud' is an alias: give --alias fraud .* or with --back"),
        ("b", False, "model 'b' has no successor: .*; it is a model of an alias: give --alias fraud --model b"),
        ("b", True, "it is a model of an alias: give --alias fraud --back"),
        ("other", False, "model 'other' has no successor: its settings are those of its state$"),
    ],
)
def test_what_belongs_to_an_alias_and_is_given_as_a_model_is_told_the_alias(
    tmp_path: Path, given: str, back: bool, words: str
) -> None:
    config = load(written(tmp_path, model("a") + model("b") + model("other", "u") + alias()), {})

    with pytest.raises((ConfigurationError, Failed), match=words):
        promote(config, None, given, back=back, force=False)


@pytest.mark.slow
def test_over_a_change_a_promotion_and_a_kill_of_the_server_nothing_is_refused_or_forgotten(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.send(80)
        first = running.start()
        until("the first version to learn", lambda: running.learned() == 80)
        assert stop(first, PATIENCE) == 0
        running.path.write_text(running.path.read_text().replace("expansion = 8", "expansion = 9"))
        told = warm.run("check", str(running.path), timeout=PATIENCE)
        assert "params.expansion: was 8, is 9" in told.stderr
        running.start()
        until("both to have learned", lambda: running.metric("thalweg_learned_events", model_name="m@2") == 80)
        until("readiness", running.ready)
        with Caller(running, "m") as caller:
            until("some answers", lambda: len(caller.seen) > 50 or caller.failed)
            promoted = warm.run("promote", str(running.path), "--model", "m", timeout=PATIENCE)
            assert promoted.returncode == 0, promoted.stderr
            assert "m: m@2 answers in place of m (promotion 1)" in promoted.stdout
            until("the successor answers", lambda: caller.seen[-1] > 10**12 or caller.failed)
        assert not caller.failed
        assert caller.seen == sorted(caller.seen)
        running.kill("server")
        until("an answer of the successor again", lambda: (_or_nothing(caller.ask) or 0) > 10**12)
        running.send(20)
        until("both to learn on", lambda: running.metric("thalweg_learned_events", model_name="m@2") == 100)
        until("both to learn on", lambda: running.metric("thalweg_learned_events", model_name="m") == 100)
        back = warm.run("promote", str(running.path), "--model", "m", "--back", timeout=PATIENCE)
        assert back.returncode == 0, back.stderr
        until("the version before answers", lambda: caller.ask() > 2 * 10**12)
        assert running.metric("thalweg_promotions_total", alias="m") == 2


def _or_nothing(ask: Callable[[], int]) -> int | None:
    try:
        return ask()
    except OSError:
        return None


@pytest.mark.parametrize(("learned", "as_of", "promoted"), [(50, 0.0, False), (95, 0.0, True), (50, 1000.0, True)])
def test_a_model_that_is_half_built_is_not_promoted_even_beside_a_champion_that_has_just_started(
    tmp_path: Path, learned: int, as_of: float, promoted: bool
) -> None:
    config = load(written(tmp_path, model("a") + model("b") + alias()), {})
    for one, (events, known) in {"a": (100, 0.0), "b": (learned, as_of)}.items():
        publisher = FilePublisher(live_folder(Path(config.service.state_dir)) / one)
        if known:
            publisher.confirm(known)
        publisher.publish(new_learner(config.find(one)).predictor(), version=1, learned_events=events, event_time=1.0)
        publisher.close()

    with (
        nullcontext() if promoted else pytest.raises(Failed, match="it still learns from the log: 50 events, of which")
    ):
        promote(config, "fraud", "b", back=False, force=False)
