"""What a model with `[model.scale]` has not, of all that one model has: each with what is expected instead."""

from __future__ import annotations


def late(start: str) -> str | None:
    """Of shards: where a partition begins."""
    if start != "latest":
        return None
    return "expected start = 'earliest': a partition that is added would lose its first events"


def begun(history: str, frozen_version: int) -> str | None:
    """Of shards: what each of them would begin with, or be compared with."""
    given = [key for key, value in (("history", history), ("frozen_version", frozen_version)) if value]
    return f"expected no {' and no '.join(given)}, which every shard would have" if given else None


def succeeded(on_change: str, keep_previous: bool) -> str | None:
    """Of whatever moves between hosts: what becomes of it when its settings change.

    `on_change`: as it was given; empty: it was not.
    """
    texts = []
    if on_change == "successor":
        texts.append(
            "expected on_change = 'refuse': no successor is built of a model that moves between hosts; make the "
            "changed one another [[model]], both of an [[alias]], and promote it"
        )
    if not keep_previous:
        texts.append("expected no keep_previous = false: it is about successors, and none is built")
    return "; ".join(texts) or None


def tested(name: str) -> str:
    """Of a member of an alias that promotes by a test."""
    return (
        f"{name!r} has [model.scale]: expected promotion = 'manual', and `thalweg promote` once it is better; a test "
        "compares models event by event where both are learned, and what moves is learned on several hosts"
    )
