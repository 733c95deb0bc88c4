"""Secrets in files, each named like the variable whose text it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.ops.config.config import load
from thalweg.ops.config.error import ConfigurationError

MINIMAL = """
[[model]]
name = "m"
learner = "ridge"
topic = "t"
inputs.features = {shape = [4]}
"""


def test_secrets_come_as_files_named_like_variables(tmp_path: Path) -> None:
    mounted = tmp_path / "..2026_11_27"  # as Kubernetes mounts a secret: each file is a link through `..data`
    mounted.mkdir()
    (mounted / "THALWEG_LOG__KAFKA__SASL_PLAIN_PASSWORD").write_text("s3cret\n")
    (mounted / "THALWEG_LOG__URL").write_text("kafka://files:9092")
    (tmp_path / "..data").symlink_to(mounted)
    for file in mounted.iterdir():
        (tmp_path / file.name).symlink_to(Path("..data") / file.name)
    path = tmp_path / ".thalweg.toml"
    path.write_text(MINIMAL)
    variables = {"THALWEG_SECRETS_DIR": str(tmp_path), "THALWEG_LOG__URL": "kafka://variable:9092"}

    log = load(path, variables).log

    assert (log.kafka["sasl_plain_password"], log.url) == ("s3cret", "kafka://variable:9092")

    (tmp_path / "password").write_text("s3cret")
    with pytest.raises(ConfigurationError) as refused:
        load(path, variables)
    assert f"{tmp_path}/password: expected names of variables, such as THALWEG_LOG__URL" in str(refused.value)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="THALWEG_SECRETS_DIR: /nowhere cannot be read"):
        load(path, {"THALWEG_SECRETS_DIR": "/nowhere"})
