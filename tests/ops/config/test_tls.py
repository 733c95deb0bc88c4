"""Certificates that cannot be used are mistakes of the configuration, each told under its own key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.services.certificates import Authority, openssl
from thalweg.ops.cli.main import app
from thalweg.ops.config.access.exposure import exposures
from thalweg.ops.config.config import Config, parse
from thalweg.ops.config.error import ConfigurationError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of a configuration are relative to the working directory, which may hold the state of another run."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PEM files, good and bad, by name."""
    folder = tmp_path_factory.mktemp("pem")
    root = Authority(folder)
    (folder / "junk").write_text("junk")
    found = {"ca": root.certificate, "junk": folder / "junk", "missing": folder / "missing"}
    for name, days, usage in (
        ("good", 30, "serverAuth"),
        ("late", -3, "serverAuth"),
        ("client", 30, "clientAuth"),
        ("soon", 5, "serverAuth"),
    ):
        issued = root.issue(name, days=days, usage=usage)
        found |= {name: issued.certificate, f"{name}.key": issued.key}
    openssl("ec", "-in", found["good.key"], "-aes256", "-passout", "pass:x", "-out", folder / "encrypted.key")
    weak = ("-newkey", "rsa:1024", "-nodes", "-keyout", folder / "weak.key")
    openssl("req", "-x509", *weak, "-out", folder / "weak.pem", "-subj", "/CN=weak")
    found |= {"encrypted.key": folder / "encrypted.key", "weak": folder / "weak.pem", "weak.key": folder / "weak.key"}
    return {name: str(path) for name, path in found.items()}


def configured(**service: Any) -> Config:
    model = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}
    return parse({"service": service, "model": [model]}, "t.toml", {})


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "told"),
    [
        ("good", "good.key", "ca", []),
        ("late", "late.key", "", []),  # `check` tells it; a service that starts again goes on
        ("good", "", "", ["tls_certificate: expected tls_key beside it"]),
        ("", "good.key", "", ["tls_certificate: missing: tls_key is given"]),
        ("", "", "ca", ["tls_certificate: missing: tls_client_ca is given"]),
        ("missing", "good.key", "", ["tls_certificate: .*missing cannot be read: No such file"]),
        ("good", "missing", "", ["tls_key: .*missing cannot be read"]),
        ("good", "good.key", "missing", ["tls_client_ca: .*missing cannot be read"]),
        ("junk", "good.key", "", ["tls_certificate: .*junk: expected a certificate in PEM form"]),
        ("good", "junk", "", ["tls_key: .*junk: expected a key in PEM form"]),
        ("good", "good.key", "junk", ["tls_client_ca: .*junk: expected certificates in PEM form"]),
        ("good", "late.key", "", ["tls_key: .*late.key is not the key of the certificate .*good.pem"]),
        ("good", "encrypted.key", "", ["tls_key: .*encrypted.key: expected a key without a passphrase"]),
        ("client", "client.key", "", ["tls_certificate: .*client.pem: clients would refuse it: it is not for servers"]),
        ("weak", "weak.key", "", ["tls_certificate: .*weak.pem: its key is too short"]),
    ],
)
def test_what_cannot_be_used_is_told_under_its_key(
    files: dict[str, str], certificate: str, key: str, client_ca: str, told: list[str]
) -> None:
    given = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": client_ca}
    settings = {name: files[one] for name, one in given.items() if one}

    if not told:
        configured(**settings)
        return
    with pytest.raises(ConfigurationError, match="|".join(told)) as refused:
        configured(**settings)
    assert len(str(refused.value).splitlines()) == len(told)


def test_check_tells_a_certificate_that_has_expired_and_exits_with_2(files: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "t.toml"

    def checked(name: str) -> Any:
        path.write_text(
            f'[service]\ntls_certificate = "{files[name]}"\ntls_key = "{files[f"{name}.key"]}"\n'
            f'state_dir = "{tmp_path}/state"\n[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "t"\n'
            "inputs.x = { shape = [2] }\n"
        )
        return CliRunner().invoke(app, ["check", str(path)])

    late = checked("late")

    assert isinstance(late.exception, ConfigurationError)  # which is exit code 2
    assert "service.tls_certificate" in str(late.exception)
    assert "expired on 2" in str(late.exception)
    assert checked("good").exit_code == 0
    assert "warning: service.tls_certificate: expires in" in checked("soon").stderr


def test_a_key_that_others_read_and_tokens_in_clear_are_pointed_out(files: dict[str, str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    shutil.copy(files["good.key"], key)
    key.chmod(0o640)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"sha256:{'0' * 64} roles=read")
    tokens.chmod(0o600)

    open_ = exposures(configured(tls_certificate=files["good"], tls_key=str(key)))
    clear = exposures(configured(grpc="0.0.0.0:1", token_file=str(tokens)))

    assert list(open_) == [f"service.tls_key: others on this machine may read {key}; chmod 600 {key}"]
    assert ["tokens are sent in clear" in line for line in clear] == [True]
