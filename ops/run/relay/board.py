"""The board by which the hosts of a configuration exchange versions, and the learner host's side of it."""

from __future__ import annotations

from pathlib import Path

import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.open import is_redis
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.objects.objects import Objects, ObjectsUnusable
from thalweg.memory.relay.board import VersionBoard
from thalweg.memory.relay.object_board import ObjectBoard
from thalweg.memory.relay.pieces import Pieces
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.relay.notes import LocalNotes, RemoteNotes
from thalweg.ops.run.shards.group import instance_of
from thalweg.ops.run.successors import with_successors
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.relay.sender import Sender
from thalweg.stream.shards.names import shard_of

log = structlog.get_logger(__name__)


def open_board(config: Config, names: RedisNames | None = None) -> VersionBoard:
    """The board: in Redis where the store is one, under `names`, large contents in the object store; else there alone.

    Raises ConfigurationError: There is neither, or one of them cannot be opened.
    """
    url = config.service.state_url
    try:
        objects = Objects(url) if url else None
    except ObjectsUnusable as error:
        raise ConfigurationError([f"service.state_url: {error}"]) from error
    pieces = None if objects is None else Pieces(objects)
    if is_redis(config.store.url):
        from thalweg.memory.relay.redis_board import RedisBoard

        try:
            return RedisBoard(config.store.url, pieces, names)
        except StoreError as error:
            raise ConfigurationError([f"store.url: {error}"]) from error
    if objects is None or pieces is None:
        raise ConfigurationError([f"service.role: {config.service.role!r} needs a Redis or service.state_url"])
    return ObjectBoard(objects, pieces)


def identities(config: Config) -> dict[str, str]:
    """By name, the hash of the settings of each model that is sent: of one that is learned in shards, its shards are.

    `config`: with successors.
    """
    return {model.name: model.identity_sha256() for model in config.model}


def build_sender(config: Config, live: Path, registry: HealthRegistry, names: RedisNames | None = None) -> Sender:
    """The sender of a learner process. Raises ConfigurationError."""
    config = with_successors(config, record=False, blocked={})
    known = identities(config)
    sharded = {model.name for model in config.model if model.sharded is not None}

    def identity(name: str) -> str | None:
        shard = shard_of(name)
        return None if name in sharded else known.get(shard[0] if shard else name)

    board, notes = open_board(config, names), LocalNotes(config, live, health=registry.register("relayed_status"))
    host = instance_of(config)
    moving = [model.name for model in config.model if model.scale is not None]
    remote = RemoteNotes(config, board)

    def tell() -> None:
        notes.tell(board, host)
        try:
            remote.look_at_aliases()
            remote.keep_files()
        except OSError as error:  # it is tried again with the next
            log.warning("what other hosts have promoted cannot be recorded here", problem=str(error))

    return Sender(live, board, identity, registry, notes.of, tell, moving)
