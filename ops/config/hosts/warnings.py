"""What hosts that share the learning of models leave undone, for `check` and for the log of learners that start."""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.ops.config.config import Config
from thalweg.stream.log.kafka_shared.properties import keyword

_LEAST_SESSION_MS = 6000


def host_warnings(config: Config) -> Iterator[str]:
    """One line for each thing that somebody should look at; none of them keeps the service from starting."""
    service = config.service
    scaled = [model.name for model in config.model if model.scale is not None]
    whole = [model.name for model in config.model if model.scale is None]
    sharded = [model.name for model in config.model if model.sharded is not None]
    alone = [name for name in scaled if name not in sharded]
    if not scaled:
        return
    for key, value in config.log.kafka.items() if config.log.url.startswith("kafka:") else ():
        if keyword(key) == "session_timeout_ms" and _below(value, _LEAST_SESSION_MS):
            yield (
                f"log.kafka.{key}: {value} is below {_LEAST_SESSION_MS}, the least that brokers allow unless their "
                "group.min.session.timeout.ms says otherwise: they would refuse the learners of "
                f"{_models(scaled)}"
            )
    if alone and not service.state_url:
        yield (
            f"{_models(alone)} by = 'topic' without service.state_url: a host that takes over begins anew, at the "
            "first record of the topic"
        )
    shared = service.role == "all" and service.state_url and config.log.url.startswith("kafka:")
    if shared and alone:
        yield (
            f"service.role: 'all' answers for {_models(alone)} from what this host has learned itself, which stands "
            "still while another learns: give hosts that learn service.role = 'learn', and those that answer 'serve'"
        )
    if shared and sharded:
        yield (
            f"service.role: 'all' answers for {_models(sharded)} from the partitions that this host learns itself, and "
            "where other hosts learn, too, from no others: give hosts that learn service.role = 'learn', and those "
            "that answer 'serve'"
        )
    if service.role == "standby" and whole:
        yield f"service.role: 'standby' takes over shards alone, nothing of {_models(whole)} without [model.scale]"
    if service.role == "standby" and alone:
        yield (
            f"service.role: 'standby' takes over shards alone, nothing of {_models(alone)} by = 'topic': another host "
            "with the role 'learn' does"
        )
    if service.role == "learn" and whole:
        yield (
            f"{_models(whole)} without [model.scale]: of several hosts that learn, the one that claimed it last "
            "learns it, the others refuse it and stay not ready, and none takes over before a restart: give it "
            "[model.scale], too, with by = 'topic' where it is to stay one model"
        )


def without_effect(config: Config) -> Iterator[str]:
    """One line for each setting of standbys that does nothing in the role of this host; for `check` alone, as
    hosts of several roles may share a file.
    """
    service = config.service
    given = service.model_fields_set
    if service.role == "standby" and service.warm_shards == 0:
        yield "service.warm_shards: 0 of a 'standby': it keeps no shard ready, and takes over as who starts does"
    if "role" not in given:
        return
    if service.warm_shards and not service.sends:
        yield f"service.warm_shards: no effect with role {service.role!r}: 'learn' and 'standby' keep shards ready"
    if "least_learners" in given and service.role != "standby":
        yield f"service.least_learners: no effect with role {service.role!r}: only a 'standby' counts learners"


def _below(value: object, least: int) -> bool:
    try:
        return float(str(value)) < least
    except ValueError:
        return False


def _models(names: list[str]) -> str:
    return f"model{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
