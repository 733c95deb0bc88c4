"""A service waits for the addresses that processes of a killed supervisor still hold."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from thalweg.ops.config.addresses import AddressInUse
from thalweg.ops.run.only_one import claim
from thalweg.ops.telemetry.process_health import SUPERVISOR_FILE


def test_told_to_stop_while_it_waits_it_has_failed_at_nothing(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    roles = {"server": {"pid": os.getpid()}}
    stop = threading.Event()
    stop.set()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        service = {"state_dir": str(tmp_path), "drain_seconds": 10.0, "grpc": address, "http": address}

        with pytest.raises(AddressInUse):
            claim(service, "all", stop)  # nothing of ours holds it
        (tmp_path / "live" / SUPERVISOR_FILE).write_text(json.dumps({"roles": roles}))

        claim(service, "all", stop)
