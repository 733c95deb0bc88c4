"""Objects by name, whichever store holds them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.clouds import AzureServer, GoogleServer, azure, google
from tests.services.object_store import S3Server, s3
from thalweg.memory.objects.objects import Objects, ObjectsUnavailable, ObjectsUnusable, check_url
from thalweg.ops.config.config import load


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3() as found:
        yield found


@pytest.fixture(scope="module")
def google_server() -> Iterator[GoogleServer]:
    with google() as found:
        yield found


@pytest.fixture(scope="module")
def azure_server() -> Iterator[AzureServer]:
    with azure() as found:
        yield found


@pytest.fixture(params=["file", "memory", "s3", "gs", "az"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    servers = {"s3": "server", "gs": "google_server", "az": "azure_server"}
    if request.param in servers:
        server = request.getfixturevalue(servers[request.param])
        return Objects(f"{server.url}/{tmp_path.name}", retry_seconds=0.1)
    return Objects(f"file:{tmp_path / 'objects'}" if request.param == "file" else "memory:")


def test_what_was_written_is_read_and_listed(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    objects.put("m/b", b"one")
    objects.put("m/b", b"two")
    objects.put("m/a/large", tmp_path / "large")
    objects.put("mm/c", b"")

    assert objects.get("m/b") == b"two"
    assert objects.get("m/nothing") is None
    assert [(one.name, one.size_bytes) for one in objects.names("m")] == [("m/a/large", 100_000), ("m/b", 3)]
    assert objects.download("m/a/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 100_000
    assert not objects.download("m/nothing", tmp_path / "none")
    objects.delete(["m/b", "m/nothing"])
    assert [one.name for one in objects.names("m")] == ["m/a/large"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_a_folder_whose_disk_is_gone_is_waited_for_and_one_that_is_mounted_anew_is_taken(tmp_path: Path) -> None:
    """A link in place of a mount: it leads to one file system, then to another."""
    place = tmp_path / "objects"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if Path(other).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("needs a second file system")
        (tmp_path / "disk").mkdir()
        place.symlink_to(tmp_path / "disk")
        objects = Objects(f"file:{place}")
        objects.check()
        objects.put("m/a", b"one")

        place.unlink()
        place.symlink_to(other)
        with pytest.raises(ObjectsUnavailable, match="is on another disk than before, and empty: put the folder back"):
            objects.put("m/b", b"two")
        written = list(Path(other).iterdir())
        Path(other, "thalweg-probe").touch()  # as of the same store, mounted anew
        objects.put("m/b", b"two")
        place.unlink()
        with pytest.raises(ObjectsUnavailable, match="there is no such folder any more: put the folder back"):
            objects.names("m")

    assert not written


def test_one_of_many_creates_an_object(objects: Objects) -> None:
    assert objects.create("m/1", b"first")
    assert not objects.create("m/1", b"second")
    assert objects.get("m/1") == b"first"
    objects.check()
    objects.check()


def test_lists_are_whole_and_large_objects_too_whatever_the_names(objects: Objects) -> None:
    names = [f"m~{number}/versions/x.y_z@2-{number:04d}" for number in range(7)]
    for name in names:
        objects.put(name, b"1")
    objects.put("large", b"0123456789" * 1_200_000)  # in several parts

    assert objects.folders() == [f"m~{number}" for number in range(7)]
    assert [one.name for number in range(7) for one in objects.names(f"m~{number}")] == names
    assert objects.get("large") == b"0123456789" * 1_200_000
    assert objects.get("large", most_bytes=100) is None


def test_a_file_that_is_not_there_is_no_fault_of_the_store(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        objects.put("m/1", tmp_path / "nothing")


def test_a_store_that_creates_twice_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects("memory:")
    monkeypatch.setattr(Objects, "create", lambda self, name, content: True)

    with pytest.raises(ObjectsUnusable, match="conditional writes"):
        objects.check()


@pytest.mark.parametrize("url", ["", "states", "foo://x", "s3://", "file:", "file:///", "http://x/y"])
def test_a_url_of_another_form_is_told(url: str) -> None:
    with pytest.raises(ObjectsUnusable):
        check_url(url)


def test_a_url_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_url(f"file:{tmp_path / 'states'}")
    check_url("s3://bucket/prefix")

    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_away_is_told_by_every_call_and_used_again_later() -> None:
    with s3() as server:
        objects = Objects(server.url, retry_seconds=0.1)
        objects.put("m/1", b"one")
        server.stop()
        for call in (lambda: objects.get("m/1"), lambda: objects.create("m/2", b""), lambda: objects.names("m")):
            with pytest.raises(ObjectsUnavailable, match=r"s3://states-.*/thalweg: "):
                call()
        server.start()
        assert objects.get("m/1") == b"one"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "s3://bucket/states?region=eu-west-1",
            "without ? and #, got 's3://bucket/states?region=eu-west-1': region",
        ),
        ("gs://bucket/states#v2", "without ? and #"),
        ("s3://minio:9000/states", "without a port, got 's3://minio:9000/states': region, endpoint and credentials"),
        ("s3://key:geheim@bucket/states", "expected s3://BUCKET/PREFIX, got a user in it: region, endpoint and cred"),
        ("s3://bucket/states ", "got 's3://bucket/states '"),
        ("file://host/states", "without a host, got 'file://host/states'"),
        ("s3://bucket//states", "empty path segment"),
    ],
)
def test_what_a_url_says_in_vain_is_refused(url: str, text: str) -> None:
    with pytest.raises(ObjectsUnusable) as told:
        check_url(url)

    assert text in str(told.value)
    assert "geheim" not in str(told.value)


def test_a_scheme_may_be_in_upper_case(tmp_path: Path) -> None:
    Objects(f"FILE:{tmp_path}/states").put("m/1", b"one")

    assert Objects(f"file:{tmp_path}/states").get("m/1") == b"one"
    assert load(written(tmp_path, f"File:{tmp_path}/states"), {}).service.state_url == f"file:{tmp_path}/states"


def written(folder: Path, url: str) -> Path:
    path = folder / "thalweg.toml"
    path.write_text(
        f'[service]\nstate_url = "{url}"\n[[model]]\nname = "m"\ntopic = "t"\nlearner = "ridge"\n'
        "inputs.features = { shape = [2] }\n"
    )
    return path


def test_an_azure_account_that_is_missing_is_told_with_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_USE_EMULATOR", raising=False)

    with pytest.raises(ObjectsUnusable, match="such as AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"):
        check_url("az://container/states")


@pytest.mark.parametrize("prefix", ["states", "states/", "my states", "zustände", "a%20b"])
def test_a_prefix_may_have_any_letters(prefix: str, server: S3Server, tmp_path: Path) -> None:
    for objects in (Objects(f"{server.url}-{tmp_path.name}/{prefix}"), Objects(f"file:{tmp_path}/{prefix}")):
        assert objects.create("m/1", b"one")
        assert (objects.get("m/1"), [one.name for one in objects.names("m")]) == (b"one", ["m/1"])
        assert objects.folders() == ["m"]


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        ("403 Forbidden", "RequestTimeTooSkewed", "403 Forbidden: RequestTimeTooSkewed: what the store says"),
        ("403 Forbidden", "AccessDenied", "403 Forbidden: AccessDenied: what the store says"),
        ("503 Slow Down", "SlowDown", "SlowDown: what the store says"),
        ("429 Too Many Requests", "", "429 Too Many Requests"),
        ("301 Moved Permanently", "PermanentRedirect", "an incorrectly configured region"),
        ("404 Not Found", "NoSuchBucket", "404 Not Found: NoSuchBucket: what the store says"),
    ],
)
def test_what_a_store_says_of_itself_is_told(status: str, code: str, told: str) -> None:
    with s3() as server:
        server.says = (status, code)
        objects = Objects(server.url, retry_seconds=0.1)

        for call in (lambda: objects.put("m/1", b""), lambda: objects.names("m")):
            with pytest.raises(ObjectsUnavailable) as error:
                call()
            assert told in str(error.value)
            assert "<" not in str(error.value)


def test_who_may_read_and_write_but_not_list_is_told_which_right_is_missing() -> None:
    with s3() as server:
        objects = Objects(server.url, retry_seconds=0.1)
        objects.put("m/1", b"one")
        server.fault = "unlisted"

        assert objects.get("m/1") == b"one"
        with pytest.raises(ObjectsUnavailable, match=r"403 Forbidden: AccessDenied.*s3:ListBucket on the bucket"):
            objects.names("m")


def test_a_gateway_that_answers_in_place_of_the_store_is_no_store_that_was_emptied() -> None:
    with s3() as server:
        objects = Objects(server.url, retry_seconds=0.1)
        objects.check()
        assert objects.names("m") == []  # nothing is there, and that is known
        server.fault = "gateway"
        fresh = Objects(server.url, retry_seconds=0.1)

        for call in (lambda: fresh.names("m"), fresh.folders):
            with pytest.raises(ObjectsUnavailable, match="a list has nothing of what is there"):
                call()
        server.fault = ""
        assert fresh.names("m") == []


def test_a_store_that_refuses_conditions_cannot_be_used() -> None:
    with s3() as server:
        server.fault = "refuses conditions"

        with pytest.raises(
            ObjectsUnusable, match=r"expected a store with conditional writes, got .*501 Not Implemented"
        ):
            Objects(server.url, retry_seconds=0.1).check()


def test_what_a_store_does_not_delete_is_told_and_stays() -> None:
    with s3() as server:
        objects = Objects(server.url, retry_seconds=0.1)
        objects.put("m/1", b"one")
        server.fault = "locked"

        assert not objects.discard(["m/1"])
        assert objects.discard([])
        assert "m/1: protected by object lock" in objects.undeleted
        assert "s3:DeleteObject" in objects.undeleted
        server.fault = ""
        assert objects.discard(["m/1"])
        assert (objects.undeleted, objects.names("m")) == ("", [])
