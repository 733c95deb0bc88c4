"""Promotions that were made and are recorded nowhere any more: `.aliases` was lost, and the configuration's champion
answers again. The audit log lies elsewhere in the state folder, and tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from thalweg.memory.audit import FILE
from thalweg.ops.config.config import Config
from thalweg.ops.run.successors import promotions_path
from thalweg.stream.journal.promotions import Promotions

_ROUNDING = 1.0  # seconds: the audit log has thousandths, and a file may begin with the promotion that it tells of


def lost_promotions(config: Config) -> Iterator[str]:
    """For people: of each name the newest promotion that its file does not have, and what to do.

    A server tells it when it starts, before it begins a new file. A host that only serves follows other hosts.
    """
    if config.service.role == "serve":
        return
    made = _audited(Path(config.service.state_dir) / FILE)
    champions = {alias.name: alias.champion for alias in config.alias}
    for name in [*champions, *(model.name for model in config.model if model.name not in champions)]:
        if name not in made:
            continue
        when, model = made[name]
        path = promotions_path(config, name)
        try:
            known = Promotions(path).read()
        except OSError:  # told by whoever needs it
            continue
        answers = known[-1].champion if known else champions.get(name, name)
        if (known and known[0].time < when.timestamp() + _ROUNDING) or answers == model:
            continue
        option = "--alias" if name in champions else "--model"
        again = f"`thalweg promote CONFIG {option} {name}" + (f" --model {model}`" if name in champions else "`")
        yield (
            f"{'alias' if name in champions else 'model'} {name!r}: the audit log tells of a promotion"
            f"{f' of {model!r}' if model else ''} at {when.isoformat(timespec='seconds')}, which {path} does not have: "
            f"it was lost, and {answers!r} answers; put .aliases back"
            + (f", or promote again: {again}" if model else ", or promote again")
        )


def _audited(path: Path) -> dict[str, tuple[datetime, str]]:
    """The newest promotion of each name, and the model; empty where it went back to the one before."""
    found: dict[str, tuple[datetime, str]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        if b'"promote"' not in line:
            continue
        try:
            entry: dict[str, Any] = json.loads(line)
            if (entry["action"], entry["outcome"]) == ("promote", "done"):
                model = entry["arguments"].get("to") or entry["arguments"].get("model") or ""  # a command; a request
                found[entry["subject"]] = datetime.fromisoformat(entry["time"]), str(model)
        except (ValueError, KeyError, TypeError, AttributeError):  # half a line
            continue
    return found
