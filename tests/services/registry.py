"""A real schema registry for tests: Apicurio Registry, in memory, which speaks Confluent's interface."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

from tests.services.ports import free_port
from tests.services.processes import PATIENCE, Unavailable, stop

FOLDER = Path(__file__).parents[2] / ".cache" / "registry"


class RegistryServer:
    """A registry that forgets its schemas when it stops.

    Args:
        folder: What it prints.
    """

    def __init__(self, folder: Path) -> None:
        if not shutil.which("java"):
            raise Unavailable("no java; run: sudo apt-get install openjdk-17-jre-headless")
        if not (FOLDER / ".complete").exists():
            raise Unavailable("no Apicurio Registry in .cache/registry; run: make services")
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of its Confluent interface."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def start(self) -> None:
        (jar,) = FOLDER.glob("*-runner.jar")
        options = ["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        settings = [f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1"]
        settings.append(f"-Djava.io.tmpdir={self._folder}")
        with (self._folder / "registry").open("wb") as output:
            self._process = subprocess.Popen(
                ["java", *options, *settings, "-jar", str(jar)], stdout=output, stderr=output, cwd=self._folder
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Apicurio did not start:\n{(self._folder / 'registry').read_text()[-3000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/subjects", timeout=PATIENCE).close()
        except OSError:
            return False
        return True

    def register(self, subject: str, schema: object, form: str = "AVRO", references: tuple[object, ...] = ()) -> int:
        """The id of a schema, registered now."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        body = json.dumps({"schema": text, "schemaType": form, "references": references}).encode()
        request = urllib.request.Request(
            f"{self.url}/subjects/{quote(subject, safe='')}/versions", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return int(json.load(response)["id"])
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from error

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)
            self._process = None
