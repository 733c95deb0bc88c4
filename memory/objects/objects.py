"""Objects by name in S3, Google Cloud Storage, Azure, or a folder, by one interface (obstore).

Only three things are asked of a store, and each of these has them: reads see the last write, lists are complete, and an
object can be created on the condition that there is none of its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from posixpath import normpath
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import structlog

from thalweg.memory.kept_folders import PUT_BACK

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = structlog.get_logger(__name__)

T = TypeVar("T")

SCHEMES = ("file", "memory", "s3", "gs", "az")
_TIMEOUT_SECONDS = 30.0  # of a request; a large object is sent in parts
_RETRY_SECONDS = 3.0  # then whoever asked is told, and asks again
_PROBE = "thalweg-probe"
_LISTED_SECONDS = 1.0  # for so long a store that has listed something is taken to do so
_LISTING = "listing needs a right of its own beside reading and writing, such as s3:ListBucket on the bucket"
_DELETING = "deleting needs a right of its own, such as s3:DeleteObject, and no lock on what is written"
_VARIABLES = {
    "gs": "GOOGLE_SERVICE_ACCOUNT",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class ObjectsUnavailable(Exception):
    """The store does not answer, or refuses; the message names it and says why. Asking again may help."""


class ObjectsUnusable(Exception):
    """The store can never be used so: its URL, a missing package, or what it does not offer."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says of an object."""

    name: str
    size_bytes: int
    modified: float
    """Unix seconds, by the store's clock."""


class Objects:
    """The objects below a URL. Thread-safe.

    Args:
        url: `file:FOLDER`, `s3://BUCKET/PREFIX`, `gs://…`, `az://…`; credentials and endpoints come from the variables
            of each (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_…`).
        retry_seconds: How long a request is repeated before it fails.

    Raises:
        ObjectsUnusable: The URL has another form, or obstore is not installed.
    """

    def __init__(self, url: str, *, retry_seconds: float = _RETRY_SECONDS) -> None:
        self.url, self._sound = url, False
        self._listed_at = -math.inf
        self.undeleted = ""
        """Why what nobody needs any more piles up, as of the last try; empty: it does not."""
        self._store = _opened(url, retry_seconds)
        self._root = _folder(url).absolute() if _scheme(url) == "file" else None
        self._disk = 0 if self._root is None else self._root.stat().st_dev

    def create(self, name: str, content: bytes) -> bool:
        """Create an object if there is none of that name; whether it was created. Raises ObjectsUnavailable."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._errors():
            try:
                obstore.put(self._store, name, content, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an object, a file's content or these bytes, over what there was. Raises ObjectsUnavailable, and
        FileNotFoundError if there is no such file."""
        import obstore

        if isinstance(content, Path):
            content.stat()
        with self._errors():
            obstore.put(self._store, name, content)

    def get(self, name: str, most_bytes: int | None = None) -> bytes | None:
        """The content of an object; None if there is none, or one of more than `most_bytes`, which is not read. Raises
        ObjectsUnavailable."""
        import obstore

        with self._errors():
            try:
                found = obstore.get(self._store, name)
                if most_bytes is not None and found.meta["size"] > most_bytes:
                    return None
                return bytes(found.bytes())
            except FileNotFoundError:
                return None

    def download(self, name: str, path: Path) -> bool:
        """Write the content of an object to a file, piece by piece; False if there is none. Raises
        ObjectsUnavailable, and OSError for the file."""
        import obstore

        with self._errors():
            try:
                pieces = iter(obstore.get(self._store, name).stream())
            except FileNotFoundError:
                return False
        with path.open("wb") as file:
            while True:
                with self._errors():
                    piece = next(pieces, None)
                if piece is None:
                    return True
                file.write(piece)

    def names(self, prefix: str) -> list[Listed]:
        """All objects whose name begins with `PREFIX/`, by name. Raises ObjectsUnavailable."""
        return sorted(self._whole(lambda: self._listed(prefix)), key=lambda one: one.name)

    def folders(self) -> list[str]:
        """The first parts of the names of all objects, up to their first `/`. Raises ObjectsUnavailable."""
        return sorted(self._whole(lambda: self._top()[0]))

    def _whole(self, listed: Callable[[], list[T]]) -> list[T]:
        """A list; of one that is empty it is seen first that the store lists what is there. Raises ObjectsUnavailable.

        A gateway that answers whatever is asked with a page of its own, or with an error and status 200, would read as
        a store that was emptied.
        """
        if found := listed():
            self._listed_at = monotonic()
        elif monotonic() - self._listed_at >= _LISTED_SECONDS:
            if self.get(_PROBE) is not None and _PROBE not in self._top()[1]:
                raise ObjectsUnavailable(
                    f"{self.url}: a list has nothing of what is there: expected a list of objects, got something else, "
                    "perhaps of a gateway before the store"
                )
            self._listed_at = monotonic()
            found = listed()
        return found

    def _listed(self, prefix: str) -> list[Listed]:
        import obstore

        with self._errors(_LISTING):
            return [
                Listed(one["path"], one["size"], one["last_modified"].timestamp())
                for part in obstore.list(self._store, prefix=prefix)
                for one in part
            ]

    def _top(self) -> tuple[list[str], list[str]]:
        """Folders and objects, as far as names go to their first `/`."""
        import obstore

        with self._errors(_LISTING):
            there = obstore.list_with_delimiter(self._store)
            return list(there["common_prefixes"]), [one["path"] for one in there["objects"]]

    def discard(self, names: Iterable[str]) -> bool:
        """Delete what nobody needs any more; False: some of it stays, as `undeleted` says."""
        if not (unneeded := list(names)):
            return True
        try:
            self.delete(unneeded)
        except ObjectsUnavailable as error:
            text = str(error).removeprefix(f"{self.url}: ")
            problem = f"{self.url}: what nobody needs any more cannot be deleted and piles up: {text}; {_DELETING}"
            if not self.undeleted:
                log.warning("objects that nobody needs any more stay", problem=problem)
            self.undeleted = problem
            return False
        self.undeleted = ""
        return True

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there are none the less gone. Raises ObjectsUnavailable."""
        import obstore

        for name in names:
            with self._errors():
                try:
                    obstore.delete(self._store, name)
                except FileNotFoundError:
                    continue

    def check(self) -> None:
        """Try what everything depends on. Raises ObjectsUnavailable, or ObjectsUnusable if an object that exists can be
        created again: then nobody could be kept from writing over another's state. What was found out is not asked
        again, for each shard that moves."""
        if self._sound:
            return
        try:
            again = not self.create(_PROBE, b"") or not self.create(_PROBE, b"")
        except ObjectsUnavailable as error:
            if "501 Not Implemented" not in str(error):
                raise
            raise ObjectsUnusable(f"expected a store with conditional writes, got {error}") from error
        if not again:
            raise ObjectsUnusable(
                f"{self.url}: expected a store with conditional writes, got one that creates an object twice"
            )
        self._sound = True

    def _must_be_there(self) -> None:
        """Raise OSError if a folder of objects was moved away, or its disk is not mounted any more: what was written
        there would be in the way of putting it back. One that is mounted anew is the same if it holds objects.
        """
        if self._root is None:
            return
        try:
            disk = self._root.stat().st_dev
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(f"there is no such folder any more: {PUT_BACK}") from error
        if disk != self._disk:
            if self._sound and not (self._root / _PROBE).exists():
                raise FileNotFoundError(f"the folder is on another disk than before, and empty: {PUT_BACK}")
            self._disk = disk

    @contextmanager
    def _errors(self, forbidden: str = "") -> Iterator[None]:
        """`forbidden`: what to do where the store answers 403."""
        from obstore.exceptions import BaseError

        try:
            self._must_be_there()
            yield
        except (BaseError, OSError) as error:
            text = _told(str(error))
            hint = f"; {forbidden}" if forbidden and "403 Forbidden" in text else ""
            raise ObjectsUnavailable(f"{self.url}: {text}{hint}") from error


def _told(text: str) -> str:
    """The first line of an error, and what the store says of it itself: it answers with a document."""
    first = text.partition("\n")[0].partition("<?xml")[0].rstrip(" -:")
    said = [found[1] for part in ("Code", "Message") if (found := re.search(f"<{part}>([^<]+)</{part}>", text))]
    return f"{first}: {': '.join(said)}" if said else first


def check_url(url: str) -> None:
    """Raise ObjectsUnusable for a URL that nothing can be opened by; asks no store and creates no folder."""
    if _scheme(url) not in ("file", "memory"):
        _opened(url, 0.0)


def _scheme(url: str) -> str:
    parts = urlsplit(url)
    scheme = parts.scheme
    if "@" in parts.netloc:  # nothing of it is shown: it may be a password
        raise ObjectsUnusable(f"expected {scheme}://BUCKET/PREFIX, got a user in it: {_elsewhere(scheme)}")
    if scheme not in SCHEMES or url != url.strip():
        raise ObjectsUnusable(f"expected file:FOLDER, s3://, gs:// or az://, got {url!r}")
    if scheme != "file" and (parts.query or parts.fragment):
        raise ObjectsUnusable(f"expected {scheme}://BUCKET/PREFIX without ? and #, got {url!r}: {_elsewhere(scheme)}")
    if scheme not in ("file", "memory") and ":" in parts.netloc:
        raise ObjectsUnusable(f"expected {scheme}://BUCKET/PREFIX without a port, got {url!r}: {_elsewhere(scheme)}")
    if scheme == "file" and parts.netloc:
        raise ObjectsUnusable(f"expected file:FOLDER or file:///FOLDER, without a host, got {url!r}")
    if find_spec("obstore") is None:
        raise ObjectsUnusable(f"{url!r} needs obstore; install thalweg[object-store]")
    if scheme == "file" and not _folder(url).name:
        raise ObjectsUnusable(f"expected file:FOLDER, got {url!r}")
    return scheme


def _elsewhere(scheme: str) -> str:
    variables = _VARIABLES.get(scheme, "AWS_REGION and AWS_ENDPOINT_URL")
    return f"region, endpoint and credentials come from variables, such as {variables}"


def plain_url(url: str) -> str:
    """The URL as the rest of the program reads it: its scheme may come in upper case."""
    scheme, colon, rest = url.partition(":")
    return f"{scheme.lower()}{colon}{rest}"


def place_of(url: str) -> str:
    """One text for all ways to write the URL of a place: with a slash at the end or none, by a link, with dots.

    Raises ObjectsUnusable: The URL has another form.
    """
    scheme, parts = _scheme(url), urlsplit(url)
    if scheme == "file":
        return str(_folder(url).resolve())
    prefix = normpath(f"/{parts.path.strip('/')}")
    return f"{scheme}://{parts.netloc}{prefix}".rstrip("/")


def _folder(url: str) -> Path:
    return Path(url.partition(":")[2].removeprefix("//"))


def _opened(url: str, retry_seconds: float) -> ObjectStore:
    scheme = _scheme(url)
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, MemoryStore, from_url

    try:
        if scheme == "memory":
            return MemoryStore()
        if scheme == "file":
            return LocalStore(prefix=_folder(url).absolute(), mkdir=True)
        pause = timedelta(seconds=min(0.2, retry_seconds))
        retry: Any = {
            "max_retries": 10,
            "retry_timeout": timedelta(seconds=retry_seconds),
            "backoff": {
                "init_backoff": pause,
                "max_backoff": timedelta(seconds=max(retry_seconds / 3, 0.2)),
                "base": 2,
            },
        }
        options: Any = {"timeout": f"{_TIMEOUT_SECONDS}s", "connect_timeout": "5s", "allow_http": True}
        return from_url(url, client_options=options, retry_config=retry)
    except (BaseError, ValueError, OSError) as error:
        text = str(error).partition("\n")[0]
        hint = f": {_elsewhere(scheme)}" if "must be specified" in text else ""
        raise ObjectsUnusable(f"{url!r}: {text}{hint}") from error
