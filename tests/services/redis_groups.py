"""Several Redis servers as they stand together elsewhere: a cluster, and a primary with a replica under Sentinels."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.services.ports import free_port
from tests.services.processes import stop, until
from tests.services.redis import RedisServer


@contextmanager
def redis_cluster(folder: Path) -> Iterator[list[RedisServer]]:
    """Three primaries that share the slots."""
    servers = []
    for number in range(3):
        place = folder / f"cluster-{number}"
        place.mkdir()
        servers.append(RedisServer(place, "--cluster-enabled", "yes", "--cluster-port", str(free_port())))
    try:
        for server in servers:
            server.start()
        clients: list[Any] = [redis.Redis.from_url(server.url) for server in servers]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * 5462, min(16383, number * 5462 + 5461))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            bus = int(server.options[-1])
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        until("the cluster to stand", lambda: all(_ok(client) for client in clients))
        yield servers
    finally:
        for server in servers:
            server.stop()


def _ok(client: Any) -> bool:
    told: dict[str, str] = client.execute_command("CLUSTER INFO")
    return told["cluster_state"] == "ok" and told["cluster_known_nodes"] == "3"


class Watched:
    """A primary, its replica, and a Sentinel that makes the replica the primary where that one is away."""

    def __init__(self, folder: Path) -> None:
        for name in ("one", "two", "sentinel"):
            (folder / name).mkdir()
        self.primary, self.replica = RedisServer(folder / "one"), RedisServer(folder / "two")
        self.primary.start()
        self.replica.start()
        redis.Redis.from_url(self.replica.url).replicaof("127.0.0.1", self.primary.port)
        self.port = free_port()
        written = folder / "sentinel" / "sentinel.conf"
        written.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor ours 127.0.0.1 {self.primary.port} 1\n"
            "sentinel down-after-milliseconds ours 300\nsentinel failover-timeout ours 2000\n"
        )
        self._process = subprocess.Popen(["redis-server", str(written), "--sentinel"], stdout=subprocess.DEVNULL)
        self.sentinel: Any = redis.Redis(port=self.port)
        until("the Sentinel to know the replica", self._knows)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/ours"

    def fail_over(self) -> None:
        """Make the replica the primary, and the other one its replica."""
        self.sentinel.execute_command("SENTINEL", "FAILOVER", "ours")
        until("the replica to be the primary", lambda: _role(self.replica) == "master")
        until("the primary to be a replica", lambda: _role(self.primary) == "slave")

    def close(self) -> None:
        self.sentinel.close()
        stop(self._process)
        self.primary.stop()
        self.replica.stop()

    def _knows(self) -> bool:
        try:
            found = self.sentinel.sentinel_slaves("ours")
        except redis.ConnectionError:
            return False
        return any(one["port"] == self.replica.port and "disconnected" not in one["flags"] for one in found)


def _role(server: RedisServer) -> str:
    with closing(redis.Redis.from_url(server.url)) as client:
        try:
            return str(client.info("replication")["role"])
        except redis.ConnectionError:  # a server that changes its role closes connections
            return ""
