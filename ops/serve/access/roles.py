"""The table of roles: every gRPC method, REST route and page action, and the role that it takes.

The interfaces look their calls up here and nowhere else, so what is not in the table is not served. The same table
stands in docs/security.md, and is tested call by call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

Role: TypeAlias = Literal["predict", "learn", "read", "operate"]
ROLES: tuple[Role, ...] = get_args(Role)
"""`predict` asks for predictions, `learn` makes models learn, `read` looks, `operate` acts on models."""
Tokenless: TypeAlias = Literal["everyone", "programs", "this machine", "nobody"]
"""Who may call without a token where the service has no tokens: everyone, everyone but web pages, callers on the same
machine, nobody."""

_OIP = "inference.GRPCInferenceService"
_OWN = "thalweg.v1.LearningService"
_HEALTH = "grpc.health.v1.Health"
_V1, _V2, _API = "/v1/models/{name}", "/v2/models/{name}", "/api/models/{name}"
_AT = "/v2/models/{name}/versions/{version}"


class Row(NamedTuple):
    """One call and what it takes."""

    call: str
    """`SERVICE/METHOD` of gRPC, or HTTP's method and path."""
    role: Role | None
    """None: open to everyone, whatever is configured."""
    model: str = ""
    """Which model it is about, for tokens that are for some models: the field of a gRPC request, `*` where each message
    says so itself, or `name` of an HTTP path; `any`: about none, so that the role for any model is enough; empty: about
    all of them."""
    tokenless: Tokenless = "everyone"
    page: str = ""
    """What on the page makes this call."""


TABLE: Mapping[str, Row] = {
    row.call: row
    for row in (
        Row(f"{_HEALTH}/Check", None),
        Row(f"{_HEALTH}/Watch", None),
        Row("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "read", "any"),
        Row("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "read", "any"),
        Row(f"{_OIP}/ServerLive", None),
        Row(f"{_OIP}/ServerReady", None),
        Row(f"{_OIP}/ServerMetadata", None),
        Row(f"{_OIP}/ModelReady", "read", "name"),
        Row(f"{_OIP}/ModelMetadata", "read", "name"),
        Row(f"{_OIP}/ModelConfig", "read", "name"),
        Row(f"{_OIP}/ModelStatistics", "read", "name"),
        Row(f"{_OIP}/RepositoryIndex", "read"),
        Row(f"{_OIP}/ModelInfer", "predict", "*"),
        Row(f"{_OIP}/ModelStreamInfer", "predict", "*"),
        Row(f"{_OWN}/Predict", "predict", "model"),
        Row(f"{_OWN}/Learn", "learn", "*", "programs"),
        Row(f"{_OWN}/Label", "learn", "model", "programs"),
        Row(f"{_OWN}/GetModel", "read", "name"),
        Row(f"{_OWN}/ListSnapshots", "read", "model"),
        Row(f"{_OWN}/Watch", "read", "model"),
        Row(f"{_OWN}/Snapshot", "operate", "model", "this machine"),
        Row(f"{_OWN}/Rollback", "operate", "model", "this machine"),
        Row(f"{_OWN}/Forget", "operate", "model", "this machine"),
        Row("GET /", None, page="the page itself"),
        Row("GET /page/{name:path}", None, page="its files"),
        Row("GET /healthz", None),
        Row("GET /readyz", None),
        Row("GET /v2", None),
        Row("GET /v2/health/live", None),
        Row("GET /v2/health/ready", None),
        Row("GET /metrics", "read"),
        Row("GET /docs", "read"),
        Row("GET /openapi.json", "read"),
        Row("GET /v1/models", "read"),
        Row("GET /v1/aliases", "read"),
        Row("GET /v1/aliases/{name}", "read", "name"),
        Row("POST /v1/aliases/{name}/promote", "operate", "name", "nobody", page="*Promote*"),
        Row(f"GET {_V1}", "read", "name"),
        Row("GET /v2/models/stats", "read"),
        Row("GET /v2/repository/index", "read"),
        Row("POST /v2/repository/index", "read"),
        *(
            Row(f"GET {path}{end}", "read", "name")
            for path in (_V2, _AT)
            for end in ("", "/ready", "/config", "/stats")
        ),
        Row(f"POST {_V2}/infer", "predict", "name"),
        Row(f"POST {_AT}/infer", "predict", "name"),
        Row(f"POST {_V1}/predict", "predict", "name"),
        Row(f"POST {_V1}:predict", "predict", "name"),
        Row(f"POST {_V1}/events", "learn", "name", "programs"),
        Row(f"POST {_V1}/labels", "learn", "name", "programs"),
        Row("GET /api/models", "read", page="the list of models"),
        Row(f"GET {_API}", "read", "name", page="one model"),
        Row(f"GET {_API}/dead_letters", "operate", "name", page="*Show dead letters*"),
        Row(f"POST {_API}/snapshot", "operate", "name", "nobody", page="*Save a snapshot*"),
        Row(f"POST {_API}/rollback", "operate", "name", "nobody", page="*Roll back*"),
    )
}


class NoRow(LookupError):
    """A method or route without a row: it must get one before it can be served."""


def row_of(call: str) -> Row:
    """The row of a call. Raises NoRow."""
    try:
        return TABLE[call]
    except KeyError:
        raise NoRow(f"{call}: no row in the table of roles (ops/serve/access/roles.py); add one") from None


_TOKENLESS_WORDS: Mapping[Tokenless, str] = {
    "everyone": "everyone",
    "programs": "programs, no web page",
    "this machine": "programs on the same machine",
    "nobody": "nobody",
}


def as_markdown() -> str:
    """The table as it stands in docs/security.md."""
    lines = ["| call | on the page | role | of a token | without `token_file` |", "|---|---|---|---|---|"]
    for row in TABLE.values():
        role = "none: open" if row.role is None else f"`{row.role}`"
        kind = "" if row.role is None else {"": "for all models", "any": "for any"}.get(row.model, "for this one")
        free = "everyone" if row.role is None else _TOKENLESS_WORDS[row.tokenless]
        lines.append(f"| `{row.call}` | {row.page} | {role} | {kind} | {free} |")
    return "\n".join(lines) + "\n"
