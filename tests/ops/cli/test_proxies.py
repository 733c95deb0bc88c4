"""The command line where the environment names a proxy, as on many hosts of companies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.running import service
from tests.samples import FEATURES
from tests.services import warm
from tests.services.ports import free_port
from tests.services.processes import PATIENCE, until

PYTHONPATH = os.pathsep.join(path for path in sys.path if path)


def _behind(proxy: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"PYTHONPATH": PYTHONPATH, "http_proxy": proxy, "https_proxy": proxy, "HTTP_PROXY": proxy}


@pytest.mark.slow
def test_this_machine_is_asked_directly(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.start()
        until("readiness", running.ready)
        running.send(20)
        until("20 events", lambda: running.learned() == 20)
        command = [*warm.COMMAND, "predict", "--target", f"127.0.0.1:{running.ports['grpc']}", "--model", "m"]
        row = json.dumps({"features": [0.0] * FEATURES}).encode()
        done = subprocess.run(
            command, input=row, env=_behind("http://127.0.0.1:9"), capture_output=True, timeout=PATIENCE
        )

    assert done.returncode == 0, done.stderr.decode()
    assert b'"label"' in done.stdout


@pytest.mark.slow
def test_a_proxy_that_does_not_answer_is_named() -> None:
    proxy = f"127.0.0.1:{free_port()}"
    command = [*warm.COMMAND, "predict", "--target", "learner.invalid:8081", "--model", "m"]

    done = subprocess.run(
        command, input=b'{"x": 1}', env=_behind(f"http://{proxy}"), capture_output=True, timeout=PATIENCE
    )

    assert done.returncode == 1
    assert f"through the proxy {proxy}; no_proxy=learner.invalid would call it directly" in done.stderr.decode()
