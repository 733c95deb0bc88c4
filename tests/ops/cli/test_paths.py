"""Paths on the command line: files and file URLs, relative to the working directory, which errors name."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from thalweg.ops.cli.main import app
from thalweg.ops.cli.paths import input_path

CONFIG = '[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "m.events"\n[model.columns]\na = "numeric"\n'


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.csv", "a.csv"),
        ("../a b.csv", "../a b.csv"),
        ("-", "-"),
        ("file:///data/a%20b.csv", "/data/a b.csv"),
        ("file://localhost/data/a.csv", "/data/a.csv"),
        ("file:a.csv", "a.csv"),
        ("C:a.csv", "C:a.csv"),
        ("12:30.csv", "12:30.csv"),
    ],
)
def test_a_path_or_a_file_url_is_a_path(text: str, path: str) -> None:
    assert input_path(text) == Path(path)


@pytest.mark.parametrize("text", ["https://example.com/a.csv", "s3://bucket/a.parquet", "file://host/a.csv"])
def test_other_urls_are_refused_as_they_are(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"expected the path of a file.*got '{text}'"):
        input_path(text)


def test_all_paths_are_relative_to_the_working_directory_and_messages_say_where_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here := tmp_path / "here").mkdir()
    (tmp_path / "c.toml").write_text(CONFIG)
    (tmp_path / "a.csv").write_text("a,label\n1,x\n2,y\n")
    monkeypatch.chdir(here)
    produce = ["produce", "../c.toml", "--topic", "m.events", "--input"]

    missing = CliRunner().invoke(app, [*produce, "a.csv"])
    done = CliRunner().invoke(app, [*produce, (tmp_path / "a.csv").as_uri()])
    sampled = CliRunner().invoke(app, ["init", "--from", "a.csv"])

    looked = f"paths are relative to the working directory, {here}"
    assert (missing.exit_code, str(missing.exception)) == (1, f"a.csv: No such file or directory; {looked}")
    assert done.exit_code == 0, done.output
    assert f"appended 2 events to m.events in sqlite:{here}/state/log.db" in done.output
    assert looked in str(sampled.exception)
    assert (here / "state" / "log.db").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["replay", "c.toml", "--model", "m", "--input", "folder"], "folder: expected a file, got a folder"),
        (
            ["replay", "c.toml", "--model", "m", "--input", "a.csv", "--report", "a.csv"],
            "--report a.csv: expected a",
        ),
        (["init", "--from", "folder"], "folder: expected a file, got a folder"),
        (["init", "--from", "a.csv", "--output", "none/c.toml"], "--output none/c.toml: there is no folder none"),
        (["init", "--from", "a.csv", "--ignore", "aa"], "--ignore 'aa': no such column; did you mean 'a'?"),
        (["init", "--from", "a.csv", "--encoding", "utf9"], "--encoding: expected an encoding such as utf-8"),
        (["predict", "--target", "127.0.0.1:1", "--model", "m"], "standard input is empty; expected JSON such as"),
        (["simulate", "--seed", "1", "--without", "dsk"], "no such kind of fault; did you mean disk? known: "),
    ],
)
def test_a_mistaken_argument_is_named_with_what_was_expected(
    arguments: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "c.toml").write_text(CONFIG)
    (tmp_path / "a.csv").write_text("a,label\n" + "1,x\n2,y\n" * 20)
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(app, arguments)

    assert done.exit_code != 0
    assert what in str(done.exception)
