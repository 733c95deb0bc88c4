"""The paths of a configuration as a running process needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thalweg.ops.config.config import Config
from thalweg.ops.config.files.places import OF_SERVICE, path_of


def whole_paths(config: Config) -> Config:
    """The same with whole paths where it is read while a process runs: a library or a plug-in may change the working
    directory of the whole process, and no other model may lose its log by that.
    """
    service = {key: _whole(getattr(config.service, key)) for key in OF_SERVICE if key != "state_url"}
    if config.service.state_url.startswith("file:"):
        service["state_url"] = _whole(config.service.state_url)
    models = [model.model_copy(update={"history": _whole(model.history)}) for model in config.model]
    jwt = config.service.jwt
    if jwt is not None and jwt.keys and "://" not in jwt.keys:
        service["jwt"] = jwt.model_copy(update={"keys": _whole(jwt.keys)})
    return config.model_copy(
        update={
            "service": config.service.model_copy(update=service),
            "log": config.log.model_copy(update={"url": _whole_url(config.log.url)}),
            "store": config.store.model_copy(update={"url": _whole_url(config.store.url)}),
            "model": models,
        }
    )


def _whole_url(url: str) -> str:
    return _whole(url) if url.startswith("sqlite:") else url


def _whole(text: str) -> Any:
    path = path_of(text)
    return text[: len(text) - len(path)] + str(Path(path).absolute()) if path else text
