"""The sections of the file for the whole service."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from thalweg.memory.audit import AuditLog
from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.open import is_redis
from thalweg.memory.exchange.redis_names import PREFIX
from thalweg.memory.objects.objects import ObjectsUnusable, check_url, plain_url
from thalweg.models.parts.settings import Count, NotNegative, Positive, Settings, Whole, rule
from thalweg.ops.config import addresses
from thalweg.ops.config.access.jwt import JwtConfig
from thalweg.ops.config.access.secrets import masked
from thalweg.ops.config.hosts.roles import ServiceRole
from thalweg.ops.serve.access.tokens import Tokens, TokensUnusable, read_tokens
from thalweg.ops.serve.tls.certificates import Certificates, CertificatesUnusable, TlsFiles
from thalweg.ops.serve.tls.certificates import load as load_certificates
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.kafka_shared.choice import Client, effective_client
from thalweg.stream.log.kafka_shared.servers import kafka_servers
from thalweg.stream.log.log import LogError, Reading, Retention
from thalweg.stream.log.open import open_log

_HOST = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_KEPT = Retention()
_WARM_SHARDS = 16
_READING = Reading()


def _address(given: str) -> str:
    addresses.split(given)
    return given


def _address_or_none(given: str) -> str:
    return given and _address(given)


def _log_url(given: str) -> str:
    if not re.match(r"sqlite:.|kafka://.|memory:$", given):
        raise ValueError(f"expected sqlite:PATH, kafka://HOST:PORT or memory:, got {masked(given)!r}")
    if given.startswith("kafka://"):
        kafka_servers(given.removeprefix("kafka://"))
    return given


def _store_url(given: str) -> str:
    if is_redis(given) and not given.endswith("://"):
        from thalweg.memory.exchange.redis_client import check_redis_url  # takes a while to import

        try:
            check_redis_url(given)
        except StoreError as error:
            raise ValueError(str(error)) from error
    elif not re.match(r"sqlite:.|rediss?://.|unix://.|memory:$", given):
        raise ValueError(f"expected sqlite:PATH, redis://HOST:PORT/DB or memory:, got {masked(given)!r}")
    return given


Address = Annotated[str, AfterValidator(_address)]


def _state_url(text: str) -> str:
    if text:
        try:
            check_url(text)
        except ObjectsUnusable as error:
            raise ValueError(str(error)) from error
    return plain_url(text)


class ServiceConfig(Settings):
    """`[service]`: where the service listens and keeps its state."""

    role: ServiceRole = "all"
    """What this host does. `learn`: only learners, which send their versions to other hosts; `serve`: only servers of
    what learners on other hosts send, by `store.url` of a Redis, `service.state_url`, or both; `standby`: follows the
    shards of models with `[model.scale]`, and learns while learners are missing: docs/scale.md."""
    warm_shards: Whole | None = None
    """With role `learn` or `standby`: the most shards of other hosts that a learner process keeps ready in its memory,
    to go on with them at once when they become its own. Each takes memory and time as if it were learned here. None:
    16 with `standby`, else 0."""
    least_learners: Count = 1
    """With role `standby`: it takes part in the group of a model while fewer learner processes than these are in it."""
    grpc: Address = "127.0.0.1:8081"
    """gRPC address, `HOST:PORT`, an IPv6 host in brackets; `[::]` means all addresses, including IPv4; port 0 selects a
    free port."""
    http: Address = "127.0.0.1:8080"
    """Address of the live page, metrics, health and REST."""
    health: Annotated[str, AfterValidator(_address_or_none)] = ""
    """A further address for health and metrics alone (`/healthz`, `/readyz`, `/metrics`), in plain text and without
    tokens: for probes and scrapes where callers need certificates. Empty: none."""
    state_dir: str = "state"
    """Folder of snapshots, journals and published versions; relative to the working directory, like all paths."""
    state_url: Annotated[str, AfterValidator(_state_url)] = ""
    """Where snapshots are kept besides, and restored from on a host without them: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`
    or `file:FOLDER`. Credentials and endpoints come from the usual variables of each. Empty: nowhere."""
    token_file: str = ""
    """File with one bearer token per line, each of at least 16 characters or as `sha256:HEX`, and its roles:
    docs/security.md. It is read again when it changes. Without the file the page is read-only."""
    tls_certificate: str = ""
    """PEM file of the certificate of both interfaces, and of those between it and its root; it and the next two are
    read again when they change. Empty: plain text."""
    tls_key: str = ""
    """PEM file of its key, without a passphrase."""
    tls_client_ca: str = ""
    """PEM file of the roots of clients' certificates: who has none is refused (mutual TLS). Empty: no client is asked
    for one."""
    hosts: list[str] = []  # noqa: RUF012 - pydantic copies it
    """Names under which the service is reached over HTTP, without port; requests that name another host are refused.
    Addresses and `localhost` are always right. Empty: requests that arrive on the loopback interface may name none with
    a dot besides, those from elsewhere any."""
    origins: list[str] = []  # noqa: RUF012
    """Origins, such as `https://ours.example`, whose web pages may post without a token, as those of the service
    itself."""
    requests_per_second: NotNegative = 0.0
    """Requests per second of each token, and of each address without one; streams that are faster wait, other calls are
    refused with 429 (RESOURCE_EXHAUSTED). A token's `rate=` takes precedence. 0: no limit."""
    jwt: JwtConfig | None = None
    """`[service.jwt]`: JSON Web Tokens as bearer tokens; none: those of `token_file` alone."""
    allowed_modules: list[str] | None = None
    """Python modules that the configuration may name (encoders, networks and views as `module:name`, learners and
    gradings of plug-ins, import paths beyond `river` and `sklearn`), with those within them; no other is imported, not
    even by `check`. None: any."""
    max_message_bytes: Count = 64 << 20
    """Larger requests and records are rejected."""
    servers: Annotated[int, Field(ge=1, le=64)] = 1
    """Server processes that share both addresses: about one per core that predictions may take. The system spreads
    connections over them, so that one caller's connection stays with one of them."""
    learners: Annotated[int, Field(ge=1, le=64)] = 1
    """Learner processes that share the models out: about one per core that learning may take. No more are started than
    there are models, and each model is learned by one of them."""
    workers: Count = 2
    """Requests processed at once; more threads only compete for the interpreter lock. Requests that wait for a version,
    the log or a disk do not count."""
    queue: Whole = 128
    """Requests that may wait in addition. With one more the server is overloaded: until a second has passed without a
    refusal, only as many wait as are answered in time, and the others are refused at once with RESOURCE_EXHAUSTED (HTTP
    429)."""
    connections: Count = 1000
    """Open connections of each interface; fewer if the process may open fewer files. With one more over HTTP, the one
    that has waited longest for its caller is closed; over gRPC the new one is refused."""
    connections_per_address: Count = 500
    """Open HTTP connections from one address; with one more, the one of them that has waited longest is closed."""
    streams_per_connection: Count = 1000
    """Calls and streams at once over one gRPC connection; the caller's library queues further ones."""
    keepalive_seconds: Positive = 60.0
    """The server pings a gRPC connection on which nothing came for this long; a caller that does not answer within
    `keepalive_timeout_seconds` is gone."""
    keepalive_timeout_seconds: Positive = 20.0
    """Time for a caller to answer a ping."""
    ping_seconds: NotNegative = 5.0
    """Callers may ping a gRPC connection as often, also while they have no call on it; one that pings more often three
    times is told to reconnect (`too_many_pings`). 0: as often as they like."""
    connection_age_seconds: NotNegative = 0.0
    """A gRPC connection is closed, after its calls, when it is this old, so that callers spread over the servers behind
    a load balancer; 0: never."""
    receive_seconds: Positive = 20.0
    """Time for a request to arrive: an HTTP head, then its body; a gRPC message. Slower ones are ended."""
    batch_rows: Count = 32
    """Rows of requests to one model that are computed together at most: those that come while a prediction is computed,
    where it takes at least half a millisecond and together they are quicker. None waits for others to come. 1: none
    are computed together."""
    requests_bytes: Count = 512 << 20
    """Memory that the requests under way may hold together, on every interface: their bytes, what these expand to, and
    their answers, rather estimated too high; the first 64 KiB of each are free. Further ones are refused with
    RESOURCE_EXHAUSTED (HTTP 429), one that alone takes more too (413). A server process takes this beside its models
    and about 200 MB."""
    drain_seconds: NotNegative = 10.0
    """Time for a stopping server to finish running requests, and for a stopping learner to save a snapshot."""

    silent_seconds: Annotated[float, Field(ge=1)] = 60.0
    """A part of a process of which nothing is heard for this long is failed; a process that sends no heartbeat for this
    long is killed and restarted. Longer than the longest block takes to learn."""
    stuck_seconds: NotNegative = 60.0
    """A part of the learner process that stays silent for this much longer is stuck: the process ends and is restarted.
    0: never."""
    standby: bool = True
    """The supervisor keeps a process that has imported everything and does nothing else; server and learner are forked
    from it, share its memory, and are restarted without the time of imports. Linux only."""

    @property
    def sends(self) -> bool:
        """Whether what is learned here is served by other hosts."""
        return self.role in ("learn", "standby")

    @property
    def followed(self) -> int:
        """The most shards that a learner process keeps ready without learning them."""
        if not self.sends or not self.state_url:
            return 0
        return self.warm_shards if self.warm_shards is not None else _WARM_SHARDS * (self.role == "standby")

    @rule("http", "grpc")
    def _addresses_differ(self) -> str | None:
        sound = self.http != self.grpc or self.grpc.endswith(":0")
        return None if sound else f"expected another address than service.grpc, got {self.http!r}"

    @rule("health", "grpc", "http")
    def _health_differs(self) -> str | None:
        if not self.health or self.health.endswith(":0"):
            return None
        taken = [name for name in ("grpc", "http") if getattr(self, name) == self.health]
        return f"expected another address than service.{taken[0]}, got {self.health!r}" if taken else None

    @rule("servers", "grpc", "http", "health")
    def _servers_share_ports(self) -> str | None:
        free = [name for name in ("grpc", "http", "health") if getattr(self, name).endswith(":0")]
        if self.servers == 1 or not free:
            return None
        places = " and ".join(f"service.{name}" for name in free)
        return f"expected 1 where port 0 is given, in {places}: servers share one port, got {self.servers}"

    @rule("token_file")
    def _tokens_can_be_read(self) -> str | None:
        try:
            if self.token_file:
                read_tokens(Path(self.token_file))
        except TokensUnusable as error:
            return str(error)
        return None

    @rule("tls_certificate", "tls_key", "tls_client_ca")
    def _certificate_has_a_key(self) -> str | None:
        if self.tls_certificate and not self.tls_key:
            return "expected tls_key beside it, got none"
        given = [name for name in ("tls_key", "tls_client_ca") if getattr(self, name)]
        return f"missing: {given[0]} is given" if given and not self.tls_certificate else None

    @rule("tls_certificate", "tls_key")
    def _certificate_can_be_used(self) -> str | None:
        return self._tls_mistake("tls_certificate", self.tls_files)

    @rule("tls_key", "tls_certificate")
    def _key_can_be_used(self) -> str | None:
        return self._tls_mistake("tls_key", self.tls_files)

    @rule("tls_client_ca", "tls_certificate", "tls_key")
    def _client_ca_can_be_used(self) -> str | None:
        return self._tls_mistake("tls_client_ca", replace(self.tls_files, client_ca=self.tls_client_ca))

    @property
    def tls_files(self) -> TlsFiles:
        """Certificate and key."""
        return TlsFiles(self.tls_certificate, self.tls_key)

    def tokens(self, registry: HealthRegistry, audit: AuditLog) -> Tokens | None:
        """The tokens; None: no token is required. Raises TokensUnusable.

        Args:
            registry: Where they report their health, as `tokens`.
            audit: Where reloads are recorded.
        """
        if not self.token_file:
            return None
        return Tokens(Path(self.token_file), health=registry.register("tokens"), audit=audit)

    def certificates(
        self, registry: HealthRegistry | None = None, audit: AuditLog | None = None
    ) -> Certificates | None:
        """The certificates; None: plain text. Raises CertificatesUnusable.

        Args:
            registry: Where they report their health, as `certificates`.
            audit: Where reloads are recorded; None: nowhere.
        """
        if not self.tls_certificate:
            return None
        files = replace(self.tls_files, client_ca=self.tls_client_ca)
        return Certificates(files, health=(registry or HealthRegistry()).register("certificates"), audit=audit)

    def _tls_mistake(self, setting: str, files: TlsFiles) -> str | None:
        """What is wrong with the file of a setting, if all that are needed are given."""
        try:
            if files.certificate and files.key:
                load_certificates(files)
        except CertificatesUnusable as error:
            return str(error) if error.setting == setting else None
        return None

    @rule("hosts")
    def _hosts_are_names(self) -> str | None:
        wrong = [host for host in self.hosts if not re.fullmatch(_HOST, host)]
        return f"expected names without scheme and port, got {_listed(wrong)}" if wrong else None

    @rule("allowed_modules")
    def _modules_are_names(self) -> str | None:
        wrong = [one for one in self.allowed_modules or () if not all(part.isidentifier() for part in one.split("."))]
        return f"expected names of modules, got {_listed(wrong)}" if wrong else None

    @rule("origins")
    def _origins_are_origins(self) -> str | None:
        wrong = [origin for origin in self.origins if not re.fullmatch(r"https?://[^/\s?#]+", origin)]
        return f"expected http://HOST[:PORT] or https://HOST[:PORT], got {_listed(wrong)}" if wrong else None


def _listed(wrong: list[str]) -> str:
    return f"{', '.join(map(repr, wrong)):.200}"


class RegistryConfig(Settings):
    """`[log.registry]`: where the schemas of framed records are (a zero byte, the schema's id, the record)."""

    url: str
    """Where its Confluent interface begins: `http://host:8081`; Apicurio: `http://host:8080/apis/ccompat/v7`."""
    user: str = ""
    """For basic authentication; empty: none."""
    password: str = ""
    """For basic authentication; set it by the environment (`THALWEG_LOG__REGISTRY__PASSWORD`)."""
    framed_keys: bool = False
    """Keys of records are framed, too: read them by their schemas. Otherwise a framed key is the bytes that it is."""

    @rule("url")
    def _url_is_one(self) -> str | None:
        if not re.match(r"https?://[^/\s]+", self.url):
            return f"expected http://HOST:PORT or https://HOST, got {masked(self.url)!r}"
        for module, package in (("fastavro", "fastavro"), ("grpc_tools", "grpcio-tools")):
            if find_spec(module) is None:
                return f"{package} is not installed; run: pip install 'thalweg[registry]'"
        return None


class LogConfig(Settings):
    """`[log]`: the log of events, the single source of truth."""

    url: Annotated[str, AfterValidator(_log_url)] = "sqlite:state/log.db"
    """`sqlite:PATH`, or `kafka://HOST:PORT[,HOST:PORT]`, or `memory:` within one process (no service)."""
    retention_records: Count | None = _KEPT.records
    """Embedded log: most records per topic; the oldest are deleted first. Kafka has its own settings."""
    retention_bytes: Count | None = _KEPT.bytes
    """Embedded log: most bytes per topic."""
    retention_seconds: NotNegative | None = _KEPT.seconds
    """Embedded log: maximum age of records."""
    unreadable_seconds: NotNegative = _READING.unreadable_seconds
    """Kafka: records that cannot be read (damaged, or compressed beyond `unpacked_bytes`) are fetched anew for this
    long, then skipped and counted in `thalweg_log_gap_records_total`."""
    unpacked_bytes: Count = _READING.unpacked_bytes
    """Kafka: what one compressed batch of records may unpack to; a larger one cannot be read. With confluent-kafka it
    bounds single records: librdkafka unpacks batches itself."""
    client: Client = "auto"
    """Kafka: the client. `auto` takes confluent-kafka where it is installed (extra `confluent`), else kafka-python."""
    kafka: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """Kafka client properties under their usual names, such as `security.protocol`."""
    moved_from: str = ""
    """The id of the log whose models go on from this log's topics: else a model in `service.state_url` that was learned
    from another Kafka cluster is refused, and one that a service with another log has in the Redis of `store.url`."""

    @rule("client")
    def _client_is_installed(self) -> str | None:
        try:
            effective_client(self.client)
        except LogError as error:
            return str(error).removeprefix("log.client: ")
        return None

    registry: RegistryConfig | None = None
    """Schema registry of the records; none: no record is framed."""

    def kafka_mistakes(self) -> dict[str, str]:
        """Mistakes in the client properties, or in the URL under "". Each property is tried separately so that all are
        reported; no connection is made.
        """
        found: dict[str, str] = {}
        for key in ["", *self.kafka] if self.url.startswith("kafka://") else []:
            try:
                open_log(self.url, {key: self.kafka[key]} if key else {}, client=self.client).close()
            except LogError as error:
                found[key] = re.sub(r"^log\.kafka[^ ]*: ", "", str(error))
                if not key:
                    break  # the cause is not the properties
        return found


class StoreConfig(Settings):
    """`[store]`: what the processes share besides the log."""

    url: Annotated[str, AfterValidator(_store_url)] = "sqlite:state/store.db"
    """`sqlite:PATH`, `redis://HOST:PORT/DB`, or `memory:` within one process (no service). A Redis may also be
    `rediss://…` (TLS), `unix://PATH`, `redis+sentinel://HOST:PORT[,HOST:PORT]/NAME[/DB]`, or
    `redis+cluster://HOST:PORT[,HOST:PORT]`."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_{][A-Za-z0-9._:/{}-]{0,99}$")] = PREFIX
    """Redis: what every key and channel of this service begins with. Services that share a Redis need one each."""
