"""A real Prometheus for tests, and the tool that checks its files."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tests.services.ports import free_port
from tests.services.processes import PATIENCE, Unavailable, stop


def binary(name: str) -> Path:
    """Where `prometheus` or `promtool` is: in the folder THALWEG_PROMETHEUS, else on the path.

    A Prometheus that runs elsewhere would not scrape what a test starts, so the setting names programs, not a server.
    """
    folder = os.environ.get("THALWEG_PROMETHEUS")
    found = shutil.which(name, path=folder)
    if found is None:
        where = f" in {folder} (THALWEG_PROMETHEUS)" if folder else ""
        raise Unavailable(f"no {name}{where}; run: sudo apt-get install prometheus")
    return Path(found)


class PrometheusServer:
    """A server with a configuration of the test's own, its data in a temporary folder."""

    def __init__(self, folder: Path, config: str) -> None:
        self._binary = binary("prometheus")
        self._folder = folder
        self._config = folder / "prometheus.yml"
        self._config.write_text(config)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        output = self._folder / "output"
        with output.open("wb") as stream:
            self._process = subprocess.Popen(
                [
                    str(self._binary),
                    f"--config.file={self._config}",
                    f"--storage.tsdb.path={self._folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=stream,
                stderr=stream,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"Prometheus did not start:\n{output.read_text()[-3000:]}")
            time.sleep(0.05)

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The value of each series that the expression gives now, by its labels in order of their names."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(address, timeout=PATIENCE) as reply:
            found = json.load(reply)["data"]["result"]
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in found}

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)
            self._process = None

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            return False
