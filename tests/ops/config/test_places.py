"""Paths in a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.ops.config.config import Config, load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.files.whole import whole_paths

MODEL = '[[model]]\nname = "pay"\nlearner = "ridge"\ntopic = "t"\ninputs.features = { shape = [2] }\n'


def loaded(folder: Path, text: str) -> Config:
    path = folder / "thalweg.toml"
    path.write_text(text)
    return load(path, {})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("service.state_dir", '[service]\nstate_dir = "~/state"\n' + MODEL),
        ("service.state_url", '[service]\nstate_url = "file:~/state"\n' + MODEL),
        ("service.token_file", '[service]\ntoken_file = "~/tokens"\n' + MODEL),
        ("log.url", '[log]\nurl = "sqlite:~/log.db"\n' + MODEL),
        ("store.url", '[store]\nurl = "sqlite:~/store.db"\n' + MODEL),
        ("model.pay.history", MODEL + 'history = "~/old.csv"\n'),
        ("model.pay.params.key_file", MODEL + '[model.params]\nkey_file = "~/keys.npy"\n'),
        ("model.pay.encoder", MODEL + 'encoder = "onnx:~/net.onnx"\n'),
    ],
)
def test_a_tilde_is_told_instead_of_becoming_a_folder_of_that_name(tmp_path: Path, key: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        loaded(tmp_path, text)

    line = next(line for line in str(told.value).splitlines() if f"{key}: `~`" in line)
    assert "expected a whole path" in line


@pytest.mark.parametrize(
    "name",
    [
        *("store.db", "log.db", "log.db-wal", "audit.jsonl", "audit.1.jsonl"),
        *("audit-refused.jsonl", "audit-refused.4.jsonl", "Log.DB", "Audit.jsonl"),
    ],
)
def test_no_model_is_called_as_a_file_of_the_state_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is a file of the state folder already"):
        loaded(tmp_path, MODEL.replace('"pay"', f'"{name}"'))


ONE_FILE = r"store\.url: expected a file of its own, got the file of the log"


@pytest.mark.parametrize(
    "store",
    ["state/log.db", "./state/log.db", "state/../state/log.db", "{here}/state/log.db", "linked/log.db", "other.db"],
)
@pytest.mark.parametrize("log", ["", '[log]\nurl = "sqlite:state/log.db"\n'], ids=["by default", "given"])
def test_log_and_store_are_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, log: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "linked").symlink_to("state")
    (tmp_path / "other.db").symlink_to("state/log.db")  # which is not there yet

    with pytest.raises(ConfigurationError, match=ONE_FILE):
        loaded(tmp_path, f'{log}[store]\nurl = "sqlite:{store.format(here=tmp_path)}"\n{MODEL}')


@pytest.mark.parametrize(
    ("log", "store", "told"),
    [
        ("log.db", "log.db-wal", "store.url: expected a file of its own, got the -wal file of the log"),
        ("store.db-journal", "store.db", "log.url: expected a file of its own, got the -journal file of store.url"),
    ],
)
def test_log_and_store_are_no_files_of_each_other(tmp_path: Path, log: str, store: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as found:
        loaded(tmp_path, f'[log]\nurl = "sqlite:{log}"\n[store]\nurl = "sqlite:{store}"\n{MODEL}')
    assert told in str(found.value)


def test_a_hard_link_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.db").touch()
    (tmp_path / "store.db").hardlink_to(tmp_path / "log.db")
    with pytest.raises(ConfigurationError, match=ONE_FILE):
        loaded(tmp_path, f'[log]\nurl = "sqlite:log.db"\n[store]\nurl = "sqlite:store.db"\n{MODEL}')


@pytest.mark.parametrize("url", ["file:state", "file:./a/../state/", "file://{here}/state", "FILE:{here}/linked"])
def test_state_url_is_another_folder_than_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to("state")
    (tmp_path / "a").mkdir()

    with pytest.raises(ConfigurationError, match=r"service\.state_url: expected another folder than"):
        loaded(tmp_path, f'[service]\nstate_url = "{url.format(here=tmp_path)}"\n{MODEL}')


@pytest.mark.parametrize("given", ["", " "])
def test_no_folder_is_no_state_folder(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"service\.state_dir: expected a folder, got '"):
        loaded(tmp_path, f'[service]\nstate_dir = "{given}"\n{MODEL}')


def test_a_name_that_a_file_of_the_state_folder_has_is_found_by_any_spelling(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is a file of the state folder already: log\.url"):
        loaded(tmp_path, '[log]\nurl = "sqlite:./a/../state/log.db"\n' + MODEL.replace('"pay"', '"log.db"'))


def test_a_name_is_free_where_log_and_store_are_elsewhere(tmp_path: Path) -> None:
    elsewhere = '[log]\nurl = "sqlite:data/log.db"\n[store]\nurl = "redis://localhost/0"\n'

    assert loaded(tmp_path, elsewhere + MODEL.replace('"pay"', '"log.db"')).model[0].name == "log.db"


def test_a_running_process_has_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens").write_text("a-token-of-some-length\n")
    monkeypatch.chdir(tmp_path)
    given = loaded(
        tmp_path,
        '[service]\ntoken_file = "tokens"\nstate_url = "file:kept"\n[store]\nurl = "redis://localhost/0"\n'
        + MODEL
        + 'history = "old.csv"\n',
    )

    whole = whole_paths(given)

    assert whole.service.state_dir == f"{tmp_path}/state"
    assert whole.service.token_file == f"{tmp_path}/tokens"
    assert whole.service.state_url == f"file:{tmp_path}/kept"
    assert whole.service.tls_key == ""
    assert whole.log.url == f"sqlite:{tmp_path}/state/log.db"
    assert whole.store.url == "redis://localhost/0"
    assert whole.model[0].history == f"{tmp_path}/old.csv"
    assert whole.model[0].identity_sha256() == given.model[0].identity_sha256()


def test_names_that_differ_by_case_alone_are_refused(tmp_path: Path) -> None:
    """macOS, exFAT and SMB have one folder for both: two models would write one state."""
    second = MODEL.replace('"pay"', '"Pay"')
    with pytest.raises(ConfigurationError) as told:
        loaded(tmp_path, MODEL + second)
    assert "model.Pay.name: 'pay' differs by case alone: some file systems have one folder for both" in str(told.value)
    assert str(told.value).count("differs by case alone") == 1
    with pytest.raises(ConfigurationError, match=r"alias\.PAY\.name: 'pay' differs by case alone"):
        loaded(tmp_path, MODEL + '[[alias]]\nname = "PAY"\nchampion = "pay"\n')
    with pytest.raises(ConfigurationError, match="got 'Live'"):
        loaded(tmp_path, MODEL.replace('"pay"', '"Live"'))
    assert len(loaded(tmp_path, MODEL + MODEL.replace('"pay"', '"paid"')).model) == 2
