"""What a host does (`service.role`), and what it needs for that where learners and servers are on different hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from thalweg.memory.exchange.open import is_redis
from thalweg.models.parts.settings import Mistake, Place

ServiceRole = Literal["all", "learn", "serve", "standby"]
_LOOKED_AT: set[Place] = {("service", "role"), ("service", "state_url"), ("log", "url"), ("store", "url")}


def role_mistakes(table: dict[str, Any], wrong: set[Place]) -> Iterator[Mistake]:
    """The mistakes of a configuration whose learners and servers share no disk; skips what is wrong already."""
    if any(place in _LOOKED_AT or place in {one[:1] for one in _LOOKED_AT} for place in wrong):
        return
    role = _of(table, "service").get("role", "all")
    log, store = (str(_of(table, name).get("url", "sqlite:")) for name in ("log", "store"))
    by_redis = is_redis(store)
    listed = table.get("model", [])
    found = listed if isinstance(listed, list) else []
    models = [one for one in found if isinstance(one, dict) and "name" in one]
    joined = [one["name"] for one in models if isinstance(one.get("scale"), dict) and one.get("labels_topic")]
    if joined and log.startswith("kafka:") and not by_redis:
        text = (
            f"expected redis://…: model {_named(joined)} with [model.scale] and a labels_topic moves between hosts, "
            f"and so do its events that wait for their labels, which {store.partition(':')[0]}: has on this host alone"
        )
        yield Mistake(("store", "url"), text)
    if role == "all":
        return
    if not by_redis and not _of(table, "service").get("state_url"):
        text = f"{role!r} needs a way between the hosts: store.url of a Redis, or service.state_url; got neither"
        yield Mistake(("service", "role"), text)
    scaled = [one["name"] for one in models if isinstance(one.get("scale"), dict)]
    if scaled and not _of(table, "service").get("state_url"):
        text = f"missing: model {_named(scaled)} moves between hosts, and its versions with the state of its owner"
        yield Mistake(("service", "state_url"), text)
    if role == "standby":
        if not any(_of(one, "scale").get("by", "partition") != "topic" for one in models if one["name"] in scaled):
            text = "'standby' needs a model with [model.scale]: it takes over its shards"
            if scaled:
                text += f", and model {_named(scaled)} by = 'topic' has none; give this host the role 'learn'"
            yield Mistake(("service", "role"), text)
        if not log.startswith("kafka:"):
            text = f"expected kafka://… where service.role is 'standby': {log.partition(':')[0]}: has one owner for all"
            yield Mistake(("log", "url"), text)
    if role != "serve":
        return
    if not log.startswith("kafka:"):
        text = (
            "expected kafka://… where service.role is 'serve': what servers append is to reach learners on other hosts,"
            f" and {log.partition(':')[0]}: is on this one"
        )
        yield Mistake(("log", "url"), text)
    late = [one["name"] for one in models if one.get("labels_topic")]
    if late and not by_redis and not joined:
        text = (
            f"expected redis://… where service.role is 'serve': requests of model {_named(late)} wait for their labels "
            f"in the store, learners on other hosts join them, and {store.partition(':')[0]}: is on this host"
        )
        yield Mistake(("store", "url"), text)


def _named(models: list[Any]) -> str:
    return ", ".join(map(repr, models))


def _of(table: dict[str, Any], section: str) -> dict[str, Any]:
    found = table.get(section, {})
    return found if isinstance(found, dict) else {}
