"""Certificates for tests, made by the `openssl` command: an authority, and what it issues."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_DAY = 86400
_SETTINGS = """
[ca]
default_ca = one
[one]
database = {folder}/{name}.index
new_certs_dir = {folder}
certificate = {folder}/{name}.pem
private_key = {folder}/{name}.key
default_md = sha256
rand_serial = yes
unique_subject = no
policy = any
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Issued:
    """PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A root that issues certificates for `localhost` and 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "root") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        openssl("req", "-x509", *_new_key(self._key), "-out", self.certificate, "-subj", f"/CN={name}", "-days", "30")
        self._settings = folder / f"{name}.cnf"
        (folder / f"{name}.index").touch()
        self._settings.write_text(_SETTINGS.format(folder=folder, name=name))

    def issue(self, name: str, *, days: int = 30, usage: str = "serverAuth,clientAuth") -> Issued:
        """A certificate of this common name. `days`: until it expires; negative: it has expired as long ago."""
        made = Issued(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\n")
        openssl("req", "-new", *_new_key(made.key), "-out", request, "-subj", f"/CN={name}")
        now = time.time()
        openssl(  # `x509 -req` makes none that has expired
            *("ca", "-batch", "-notext", "-config", self._settings, "-extfile", extensions),
            *("-startdate", _date(now - 40 * _DAY), "-enddate", _date(now + days * _DAY)),
            *("-in", request, "-out", made.certificate),
        )
        return made


def _date(seconds: float) -> str:
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds))


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _new_key(path: Path) -> tuple[object, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path)
