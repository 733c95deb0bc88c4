"""Objects by name, whichever store holds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.object_store import S3Server, s3
from thalweg.memory.objects.objects import Objects, ObjectsUnavailable, ObjectsUnusable, check_url


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3() as found:
        yield found


@pytest.fixture(params=["file", "memory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("server")
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


def test_one_of_many_creates_an_object(objects: Objects) -> None:
    assert objects.create("m/1", b"first")
    assert not objects.create("m/1", b"second")
    assert objects.get("m/1") == b"first"
    objects.check()
    objects.check()


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
