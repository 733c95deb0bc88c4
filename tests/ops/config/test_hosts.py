"""What hosts that share models should know before they start, and what processes of a service must share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.ops.config.test_config import written
from thalweg.ops.cli.main import app
from thalweg.ops.cli.options import load
from thalweg.ops.config import config as configurations
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.hosts.warnings import host_warnings
from thalweg.ops.run import processes

MODEL = '[[model]]\nname = "{name}"\nlearner = "ridge"\ntopic = "t"\ninputs.x = {{ shape = [2], dtype = "float32" }}\n'
SCALED = MODEL.format(name="clicks") + "[model.scale]\n"
KAFKA = '[log]\nurl = "kafka://127.0.0.1:1"\n'


def service(role: str, state_url: str = "file:objects") -> str:
    return f'[service]\nrole = "{role}"\nstate_url = "{state_url}"\n'


def warned(folder: Path, text: str) -> list[str]:
    return list(host_warnings(configurations.load(written(folder, text), {})))


def test_a_host_that_does_all_is_told_that_it_answers_from_its_own_partitions(tmp_path: Path) -> None:
    (line,) = warned(tmp_path, service("all") + KAFKA + SCALED)

    assert line.startswith("service.role: 'all' answers for model 'clicks' from the partitions that this host learns")
    assert "'learn'" in line
    assert "'serve'" in line


@pytest.mark.parametrize(
    "text",
    [
        service("all") + SCALED,
        service("all", "") + KAFKA + SCALED,
        service("all") + KAFKA + MODEL.format(name="clicks"),
        service("learn") + KAFKA + SCALED,
        service("serve") + KAFKA + SCALED + MODEL.format(name="small"),
        service("learn") + KAFKA + MODEL.format(name="small"),
    ],
)
def test_one_host_and_hosts_with_roles_are_told_nothing(tmp_path: Path, text: str) -> None:
    assert warned(tmp_path, text) == []


def test_models_that_are_not_scaled_where_others_are_have_no_failover_between_hosts(tmp_path: Path) -> None:
    (line,) = warned(tmp_path, service("learn") + KAFKA + SCALED + MODEL.format(name="small"))

    assert line.startswith("model 'small' without [model.scale]: of several hosts that learn, the one that claimed it")


def test_check_warns_of_hosts_on_standard_error(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["check", str(written(tmp_path, service("all") + KAFKA + SCALED))])

    assert shown.exit_code == 0
    assert "warning: service.role: 'all' answers for model 'clicks'" in shown.stderr
    assert "warning" not in shown.stdout


def test_learners_that_start_log_what_hosts_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = service("all", f"file:{tmp_path}/objects") + f'state_dir = "{tmp_path}/state"\n' + KAFKA + SCALED
    stop = threading.Event()
    stop.set()

    processes.run_learners(configurations.load(written(tmp_path, text), {}), stop)

    assert "'all' answers for model 'clicks' from the partitions" in "".join(capsys.readouterr())


@pytest.mark.parametrize("section", ["log", "store"])
def test_what_is_within_one_process_is_refused_for_a_service_and_not_for_parts(tmp_path: Path, section: str) -> None:
    path = written(tmp_path, MODEL.format(name="m") + f'[{section}]\nurl = "memory:"\n')

    with pytest.raises(ConfigurationError) as refused:
        load(path)

    assert f"{section}.url: 'memory:' is within one process, and a service has several" in str(refused.value)
    assert load(path, service=False).find("m").name == "m"  # as for a replay
    for command in (
        ["check", str(path)],
        ["serve", str(path), "--role", "learn"],
        ["serve", str(path), "--role", "serve"],
    ):
        found = CliRunner().invoke(app, command)
        assert isinstance(found.exception, ConfigurationError), command


ALONE = MODEL.format(name="whole") + '[model.scale]\nby = "topic"\n'


def test_a_standby_is_told_that_it_takes_over_no_model_that_is_learned_whole(tmp_path: Path) -> None:
    (line,) = warned(tmp_path, service("standby") + KAFKA + SCALED + ALONE)

    assert line.startswith("service.role: 'standby' takes over shards alone, nothing of model 'whole' by = 'topic'")
    with pytest.raises(ConfigurationError, match=r"'standby' needs a model.*'whole' by = 'topic' has none"):
        warned(tmp_path, service("standby") + KAFKA + ALONE)


@pytest.mark.parametrize(
    ("role", "more", "said"),
    [
        ("standby", "warm_shards = 0\n", "service.warm_shards: 0 of a 'standby'"),
        ("serve", "warm_shards = 3\n", "service.warm_shards: no effect with role 'serve'"),
        ("all", "warm_shards = 3\n", "service.warm_shards: no effect with role 'all'"),
        ("learn", "least_learners = 2\n", "service.least_learners: no effect with role 'learn'"),
        ("learn", "warm_shards = 3\n", ""),
        ("standby", "least_learners = 2\nwarm_shards = 3\n", ""),
        ("serve", "warm_shards = 0\n", ""),
    ],
)
def test_check_names_what_has_no_effect_in_the_role_of_a_host(tmp_path: Path, role: str, more: str, said: str) -> None:
    text = (
        service(role) + more + KAFKA + SCALED + ('[store]\nurl = "redis://127.0.0.1:1/0"\n' if role == "serve" else "")
    )

    shown = CliRunner().invoke(app, ["check", str(written(tmp_path, text))])

    assert shown.exit_code == 0, shown.output
    assert f"warning: {said}" in shown.stderr if said else "_shards:" not in shown.stderr


def test_a_file_that_hosts_of_several_roles_share_has_settings_of_all(tmp_path: Path) -> None:
    text = f'[service]\nstate_url = "file:objects"\nleast_learners = 2\nwarm_shards = 3\n{KAFKA}{SCALED}'

    shown = CliRunner().invoke(app, ["check", str(written(tmp_path, text))])

    assert "no effect" not in shown.stderr


def test_a_session_that_brokers_refuse_is_told_before_they_do(tmp_path: Path) -> None:
    key, value = "session.timeout.ms", 5999
    (line,) = warned(tmp_path, service("learn") + KAFKA + f'[log.kafka]\n"{key}" = {value}\n' + SCALED)

    assert line.startswith(f"log.kafka.{key}: {value} is below 6000, the least that brokers allow")
    assert warned(tmp_path, service("learn") + KAFKA + f'[log.kafka]\n"{key}" = 6000\n' + SCALED) == []
