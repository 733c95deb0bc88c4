"""Variables that set nothing, and folders that a reboot empties, are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.ops.config.config import Config, load
from thalweg.ops.config.hosts.surroundings import lost_at_reboot, overlooked_variables

MODEL = '[[model]]\nname = "m"\ntopic = "t"\nlearner = "ridge"\ninputs.x = { shape = [1], dtype = "float32" }\n'


def configuration(folder: Path, text: str) -> Config:
    path = folder / "thalweg.toml"
    path.write_text(text + MODEL)
    return load(path, {})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("THALWEG_LOG_URL", "THALWEG_LOG__URL"),
        ("THALWEG_SERVICE_STATE_DIR", "THALWEG_SERVICE__STATE_DIR"),
        ("THALWEG_LOG_REGISTRY__URL", "THALWEG_LOG__REGISTRY__URL"),
        ("THALWEG_LOG_REGISTRY_URL", "THALWEG_LOG__REGISTRY__URL"),
        ("THALWEG_LOG_KAFKA_SASL_PLAIN_PASSWORD", "THALWEG_LOG__KAFKA__SASL_PLAIN_PASSWORD"),
        ("THALWEG_SECRET_DIR", "THALWEG_SECRETS_DIR"),
        ("thalweg_store__url", "THALWEG_STORE__URL"),
        ("THALWEG_STATE_DIR", "THALWEG_SERVICE__STATE_DIR"),
        ("THALWEG_HTTP", "THALWEG_SERVICE__HTTP"),
        ("THALWEG_URL", "THALWEG_LOG__URL or THALWEG_STORE__URL"),
        ("THALWEG_MODEL_card_fraud_SEED", "THALWEG_MODEL__card_fraud__SEED"),
        ("THALWEG_MODEL_CARD_FRAUD__BATCH_EVENTS", "THALWEG_MODEL__card_fraud__BATCH_EVENTS"),
    ],
)
def test_a_variable_that_looks_like_a_key_and_sets_none_is_told(name: str, meant: str) -> None:
    assert list(overlooked_variables({name: "x", "PATH": "/bin"}, ["card-fraud", "m"])) == [
        f"the environment variable {name} sets nothing; did you mean {meant}?"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "THALWEG_LOG__URL",
        "THALWEG_SERVICE_HOST",
        "THALWEG_SERVICE_PORT_HTTP",
        "THALWEG_PORT",
        "THALWEG_TOKEN",
        "THALWEG_KAFKA",
        "THALWEG_MODEL__m__SEED",
        "THALWEG_MODEL_SERVICE_HOST",
        "THALWEG_MODEL_other_SEED",
        "THALWEG_HTTP_SERVICE_HOST",
    ],
)
def test_others_are_not_meant(name: str) -> None:
    assert list(overlooked_variables({name: "x"}, ["m"])) == []


def test_a_state_in_memory_is_told_unless_it_is_kept_elsewhere(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "23 22 0:1 / /me\\040mory rw shared:1 - tmpfs tmpfs rw\n"
        "24 23 8:2 / /me\\040mory/disk rw - ext4 /dev/sdb rw\n"
    )
    service = '[service]\nstate_dir = "/me mory/state"\n'
    rest = '[log]\nurl = "sqlite:/me mory/log.db"\n[store]\nurl = "sqlite:/me mory/disk/store.db"\n'

    told = list(lost_at_reboot(configuration(tmp_path, service + rest), mounts))
    kept = list(lost_at_reboot(configuration(tmp_path, f'{service}state_url = "file:/o"\n{rest}'), mounts))

    reason = "is in memory (tmpfs at /me mory): a restart of the machine loses it"
    assert told == [f"service.state_dir: /me mory/state {reason}", f"log.url: /me mory {reason}"]
    assert kept == [f"log.url: /me mory {reason}"]
    assert list(lost_at_reboot(configuration(tmp_path, service), tmp_path / "none")) == []
