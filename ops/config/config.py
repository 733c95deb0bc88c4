"""The configuration: one TOML file, every key also by environment, all mistakes reported at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thalweg.models.contract.capabilities import Forgetting, capability
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.contract.registry import UnknownLearner
from thalweg.models.encoders.encoded import make_learner
from thalweg.models.encoders.encoder import IDENTITY, encoder_sha256
from thalweg.ops.config import addresses
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.reading import SECRET, Reading, masked, overlay
from thalweg.ops.serve.tokens import TokensUnusable, read_tokens
from thalweg.proto.schema import TensorSpec
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.log.log import LogError
from thalweg.stream.log.open import open_log

DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool", "bytes")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RESERVED = {"live"}


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """`[service]`: where the service listens and keeps its state."""

    grpc: str = "127.0.0.1:8081"
    """Address of gRPC, `HOST:PORT`, an IPv6 host in brackets; `[::]` means all addresses, IPv4 included; port 0 takes a
    free one."""
    http: str = "127.0.0.1:8080"
    """Address of the live page, metrics, health and the REST twin."""
    state_dir: str = "state"
    """Folder of snapshots, journals and published versions; relative to the working directory, as all paths are."""
    token_file: str = ""
    """File of tokens, one to a line: with it `Learn`, `Label`, `Snapshot`, `Rollback`, and on the page the buttons and
    the dead letters, need one. Without it the page only shows."""
    max_message_bytes: int = 64 << 20
    """Larger requests and records are refused."""
    workers: int = 2
    """Requests answered at once; more only fight over the interpreter's lock. Those that wait for a version, the log or
    a disk are not among them."""
    queue: int = 1000
    """Requests that may wait beside those; more are refused with RESOURCE_EXHAUSTED."""
    drain_seconds: float = 10.0
    """How long a stopping server may finish what it began, and a stopping learner save what it learned."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """`[log]`: the ordered record of events, the single source of truth."""

    url: str = "sqlite:state/log.db"
    """`sqlite:PATH`, or `kafka://HOST:PORT[,HOST:PORT]`, or `memory:` within one process."""
    retention_records: int | None = None
    """Embedded log: at most so many records per topic; the oldest go first. Kafka has its own settings."""
    retention_bytes: int | None = 4 << 30
    """Embedded log: at most so many bytes per topic."""
    retention_seconds: float | None = None
    """Embedded log: records older than this go."""
    kafka: dict[str, Any] = field(default_factory=dict)
    """Kafka client properties under their usual names, such as `security.protocol`."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """`[store]`: what the processes share beside the log."""

    url: str = "sqlite:state/store.db"
    """`sqlite:PATH`, `redis://HOST:PORT/DB`, or `memory:` within one process."""


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """`inputs.NAME`: one input tensor of a model, without the batch dimension."""

    shape: list[int]
    """Sizes of its dimensions, all at least 1."""
    dtype: str = "float32"
    """`float32`, `float64`, `int64`, `int32`, `uint8`, `bool` or `bytes`."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """`[[model]]`: one model, the topic it follows, and how."""

    name: str
    """Letters, digits, `.`, `_`, `-`; what clients ask for."""
    learner: str
    """`ridge`, `bottleneck`, `error_memory`, `prompt_tpp`, `cotta`, or of the entry points `thalweg.learners`."""
    topic: str
    """Where its events are."""
    inputs: dict[str, InputConfig]
    """Its input tensors by name."""
    labels_topic: str = ""
    """Where labels come that belong to earlier events or requests, by id; empty: they come with their events."""
    label_seconds: float = 86_400.0
    """How long an event or request waits for its label, and a label for its event …"""
    label_events: int = 1_000_000
    """… and how many wait at most; the oldest go first."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a model without a snapshot begins."""
    batch_events: int = 64
    """Learn in micro-batches of at most this many events."""
    batch_seconds: float = 0.05
    """The longest time that events are gathered for a micro-batch while more keep coming. An event that comes alone is
    learned at once."""
    snapshot_events: int = 10_000
    """Save a snapshot after this many events …"""
    snapshot_seconds: float = 30.0
    """… or after this long; stretched where saving would take more than a tenth of the time."""
    snapshots_kept: int = 5
    """Older versions are deleted."""
    dedup_events: int = 65_536
    """Redelivered events are recognised by id among this many newest ids; 0: never."""
    publish_share: float = 0.05
    """The share of the time that publishing versions may take."""
    window_events: int = 1000
    """Size of the recent window of the prequential metrics."""
    seed: int = 0
    """Of everything random in the learner."""
    params: dict[str, Any] = field(default_factory=dict)
    """The learner's own hyper-parameters, named as in its documentation."""
    encoder: str = "identity"
    """What stands in front of the learner, frozen: `identity`, `random_features`, `random_convolution` (each also with
    `:SIZE`), a torch module, `module:factory`, or `onnx:FILE`."""
    weights: str = ""
    """Safetensors file for the encoder's torch module."""
    device: Literal["auto", "cpu"] = "auto"
    """Where it computes; only the processor in this version."""
    frozen_after_events: int = 1000
    """Beside the model stands its frozen twin, as it was after so many events, to compare with; 0: none."""
    continual_events: int = 10
    """So many events of every class are held and asked again while it learns, to see what it keeps of them; 0: none."""
    continual_share: float = 0.02
    """How many of those are asked, as a share of the events: what this costs beside answering."""
    continual_bytes: int = 4 << 20
    """Bound on what is held; classes that no longer fit are not followed."""
    frozen_version: int = 0
    """Instead: as it was in this kept version, which must be kept when the service first starts with it; 0: in none."""
    drift: DriftParams = field(default_factory=DriftParams)
    """`[model.drift]`: what watches the model, and what is done when it drifts."""
    learn_from_requests: bool = False
    """What is asked becomes an unlabelled event of the topic: for learners that adapt to their traffic."""

    @property
    def joined_topic(self) -> str:
        """Where events go that were joined with their label; empty without a `labels_topic`."""
        return f"{self.name}.joined" if self.labels_topic else ""

    def specs(self) -> dict[str, TensorSpec]:
        """The inputs as tensor specifications."""
        return {name: TensorSpec(name, one.dtype, tuple(one.shape)) for name, one in self.inputs.items()}

    def context(self) -> LearnerContext:
        """What its learner is made of; raises ParamsError for a device that is not offered."""
        return LearnerContext(inputs=self.specs(), params=self.params, seed=self.seed, device=self.device)

    def identity_sha256(self) -> str:
        """Hash over what makes a state what it is: a state is only restored under the same."""
        record = {
            "learner": self.learner,
            "inputs": {name: dataclasses.asdict(one) for name, one in self.inputs.items()},
            "params": self.params,
            "seed": self.seed,
            "encoder": encoder_sha256(self.encoder, self.weights, self.seed) or IDENTITY,
        }
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole file."""

    service: ServiceConfig = field(default_factory=ServiceConfig)
    log: LogConfig = field(default_factory=LogConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    model: list[ModelConfig] = field(default_factory=list)

    def find(self, name: str) -> ModelConfig:
        """The model of that name. Raises ConfigurationError, naming those there are."""
        for model in self.model:
            if model.name == name:
                return model
        raise ConfigurationError([f"no model is called {name!r}; known: {', '.join(m.name for m in self.model)}"])


_NOT_YET = {
    "tls_certificate": "TLS is not offered in this version",
    "tls_key": "TLS is not offered in this version",
    "tls_client_ca": "TLS is not offered in this version",
    "device": "other devices are not offered in this version",
}


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file, with what the environment says on top.

    Raises:
        ConfigurationError: It cannot be read or used; every mistake with file, key and the nearest valid key.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from error
    return parse(table, str(path), os.environ if environment is None else environment)


def parse(table: dict[str, Any], source: str, environment: Mapping[str, str]) -> Config:
    """The configuration of a parsed table; `source` stands before each mistake."""
    mistakes: list[str] = []
    overlay(table, environment, mistakes)
    config: Config | None = Reading(source, mistakes, _NOT_YET).instance(Config, table, "")
    if config is not None:
        _check(config, mistakes, source)
    if config is None or mistakes:
        raise ConfigurationError(mistakes)
    return config


def effective(config: Config) -> dict[str, Any]:
    """The configuration as a table, secrets masked, for a person to read."""
    table = dataclasses.asdict(config)
    for key in table["log"]["kafka"]:
        if SECRET.search(key):
            table["log"]["kafka"][key] = "***"
    for section in ("log", "store"):
        table[section]["url"] = masked(table[section]["url"])
    return table


def _check(config: Config, mistakes: list[str], source: str) -> None:
    """What types cannot say."""

    def wrong(where: str, text: str) -> None:
        mistakes.append(f"{source}: {where}: {text}")

    for key in ("grpc", "http"):
        try:
            addresses.split(getattr(config.service, key))
        except ValueError as error:
            wrong(f"service.{key}", str(error))
    if config.service.grpc == config.service.http and not config.service.grpc.endswith(":0"):
        wrong("service.http", f"expected another address than service.grpc, got {config.service.http!r}")
    if config.service.token_file:
        try:
            read_tokens(Path(config.service.token_file))
        except TokensUnusable as error:
            wrong("service.token_file", str(error))
    _at_least(1, config.service, "service", ("max_message_bytes", "workers"), wrong)
    _at_least(0, config.service, "service", ("queue", "drain_seconds"), wrong)
    _at_least(1, config.log, "log", ("retention_records", "retention_bytes"), wrong)
    _at_least(0, config.log, "log", ("retention_seconds",), wrong)
    if config.log.url.startswith("kafka://"):
        mistakes += [f"{source}: {mistake}" for mistake in _kafka_mistakes(config.log)]
    if not re.match(r"sqlite:.|kafka://.|memory:$", config.log.url):
        wrong("log.url", f"expected sqlite:PATH, kafka://HOST:PORT or memory:, got {masked(config.log.url)!r}")
    if not re.match(r"sqlite:.|rediss?://.|memory:$", config.store.url):
        wrong("store.url", f"expected sqlite:PATH, redis://HOST:PORT/DB or memory:, got {masked(config.store.url)!r}")
    if not config.model:
        wrong("model", "expected at least one [[model]]")
    names = [model.name for model in config.model]
    for model in config.model:
        _check_model(model, names, wrong)


def _kafka_mistakes(section: LogConfig) -> list[str]:
    """What is wrong with the client properties, each tried alone so that all are told; nothing connects yet."""
    found = []
    for one in [{}, *({key: value} for key, value in section.kafka.items())]:
        try:
            open_log(section.url, one).close()
        except LogError as error:
            found.append(str(error))
            if not one:
                break  # it is not the properties
    return found


def _at_least(least: int, section: Any, place: str, keys: tuple[str, ...], wrong: Callable[[str, str], None]) -> None:
    for key in keys:
        value = getattr(section, key)
        if value is not None and value < least:
            wrong(f"{place}.{key}", f"expected at least {least}, got {value}")


def _check_model(model: ModelConfig, names: list[str], wrong: Callable[[str, str], None]) -> None:
    place = f"model.{model.name}"
    if not _NAME.fullmatch(model.name) or model.name in _RESERVED or model.name.isdigit():
        wrong(
            f"{place}.name",
            f"expected letters, digits, '.', '_' or '-', and not {sorted(_RESERVED)}, got {model.name!r}",
        )
    if names.count(model.name) > 1:
        wrong(f"{place}.name", "another model has this name")
    if not _NAME.fullmatch(model.topic):
        wrong(f"{place}.topic", f"expected letters, digits, '.', '_' or '-', got {model.topic!r}")
    if model.labels_topic and not _NAME.fullmatch(model.labels_topic):
        wrong(f"{place}.labels_topic", f"expected letters, digits, '.', '_' or '-', got {model.labels_topic!r}")
    if model.labels_topic and model.labels_topic in (model.topic, model.joined_topic):
        wrong(f"{place}.labels_topic", f"expected another topic than the events', got {model.labels_topic!r}")
    if model.labels_topic and not model.dedup_events:
        wrong(f"{place}.dedup_events", "expected 1 or more with a labels_topic: a label may be joined twice, got 0")
    _at_least(1, model, place, ("label_seconds", "label_events"), wrong)
    _at_least(1, model, place, ("batch_events", "snapshot_events", "snapshots_kept", "window_events"), wrong)
    _at_least(0, model, place, ("batch_seconds", "snapshot_seconds", "dedup_events", "seed"), wrong)
    if not 0 < model.publish_share <= 1:
        wrong(f"{place}.publish_share", f"expected above 0 and at most 1, got {model.publish_share}")
    _at_least(0, model, place, ("frozen_after_events", "frozen_version", "continual_events", "continual_bytes"), wrong)
    if not 0 < model.continual_share <= 1:
        wrong(f"{place}.continual_share", f"expected above 0 and at most 1, got {model.continual_share}")
    for key, text in model.drift.mistakes().items():
        wrong(f"{place}.drift.{key}", text)
    sound = bool(model.inputs) and model.seed >= 0
    if not model.inputs:
        wrong(f"{place}.inputs", "expected at least one input")
    for name, one in model.inputs.items():
        if one.dtype not in DTYPES:
            wrong(f"{place}.inputs.{name}.dtype", f"expected one of {', '.join(DTYPES)}, got {one.dtype!r}")
            sound = False
        if any(size < 1 for size in one.shape):
            wrong(f"{place}.inputs.{name}.shape", f"expected sizes of at least 1, got {one.shape}")
            sound = False
    if not sound:
        return
    try:
        learner = make_learner(model.learner, model.context(), model.encoder, model.weights)
        if model.drift.action == "raise_forgetting" and capability(learner, Forgetting) is None:
            wrong(f"{place}.drift.action", f"a {model.learner} cannot be told to forget faster, got 'raise_forgetting'")
    except UnknownLearner as error:
        wrong(f"{place}.learner", str(error))
    except ParamsError as error:
        for key, text in error.mistakes.items():
            of_encoder = model.encoder != IDENTITY and key in ("encoder", "weights")
            wrong(f"{place}.{key}" if of_encoder else f"{place}.params.{key}", text)
    except ValueError as error:
        wrong(place, str(error))
