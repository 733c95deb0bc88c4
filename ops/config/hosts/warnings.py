"""What hosts that share the learning of models leave undone, for `check` and for the log of learners that start."""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.ops.config.config import Config


def host_warnings(config: Config) -> Iterator[str]:
    """One line for each thing that somebody should look at; none of them keeps the service from starting."""
    service = config.service
    scaled = [model.name for model in config.model if model.scale is not None]
    whole = [model.name for model in config.model if model.scale is None]
    if not scaled:
        return
    if service.role == "all" and service.state_url and config.log.url.startswith("kafka:"):
        yield (
            f"service.role: 'all' answers for {_models(scaled)} from the partitions that this host learns itself, and "
            "where other hosts learn, too, from no others: give hosts that learn service.role = 'learn', and those "
            "that answer 'serve'"
        )
    if service.role == "standby" and whole:
        yield f"service.role: 'standby' takes over shards alone, nothing of {_models(whole)} without [model.scale]"
    if service.role == "learn" and whole:
        yield (
            f"{_models(whole)} without [model.scale]: of several hosts that learn, the one that claimed it last "
            "learns it, the others refuse it and stay not ready, and none takes over before a restart: give it "
            "[model.scale], too"
        )


def _models(names: list[str]) -> str:
    return f"model{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
