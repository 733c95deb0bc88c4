"""Who calls, and what they may do. The interface that receives a call puts its caller into `CALLER`."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from thalweg.memory.audit import Actor
from thalweg.ops.serve.access.refusals import Refusals
from thalweg.ops.serve.access.roles import Role
from thalweg.ops.serve.errors import Forbidden, Unauthenticated

NONE_CAME, NOT_KNOWN = "none came", "the one that came is not known"
"""Why a caller is anonymous: it continues "a token is required, and …"."""
_REASONS = {NONE_CAME: "no token came", NOT_KNOWN: "the token is not known"}
_NOT_ACCEPTED = "the token is not accepted"


class NotVerified(ValueError):
    """A token is not accepted; the message continues "a token is required, and …"."""


class Grant(NamedTuple):
    """Roles, for all models or for some."""

    roles: frozenset[Role]
    models: frozenset[str] | None = None
    """Names as callers give them, also of aliases; None: all."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has a token, or nobody in particular."""

    name: str
    """Shown in logs; never a token."""
    grants: tuple[Grant, ...]
    rate: float | None = None
    """Requests per second; None: as the service's configuration says."""
    expires: float | None = None
    """Unix seconds; None: never."""


def actor() -> Actor:
    """Who calls, for the audit log: the name of its token or certificate, or else its address."""
    caller = CALLER.get()
    return Actor("unknown", "anonymous") if caller is None else caller.actor()


class Caller(NamedTuple):
    """The caller of one call. A tuple, because there is one per call."""

    identity: Identity
    anonymous: str
    """Why it is nobody in particular: a sentence continues "a token is required, and …"; empty: it has a token."""
    refusals: Refusals
    """Told of each refusal."""
    key: str = ""
    """What its rate is counted under."""
    peer: str = ""
    """Its address, for the log."""
    barred: str = ""
    """Why it may neither make a model learn nor act on one, whatever its identity may: it is a web page, say."""

    def actor(self) -> Actor:
        """Who it is, for the audit log: the name of its token or certificate, or else its address."""
        return Actor(self.key, "anonymous") if self.anonymous else Actor(self.identity.name, "token")

    def may(self, role: Role, model: str | None = None) -> bool:
        """Whether it has this role for this model; None: for all models."""
        if self.barred and role in ("learn", "operate"):
            return False
        for roles, models in self.identity.grants:
            if role in roles and (models is None or (model is not None and model.partition("@")[0] in models)):
                return True
        return False

    def may_for_some(self, role: Role) -> bool:
        """Whether it has this role for some model."""
        return not (self.barred and role in ("learn", "operate")) and any(
            role in roles for roles, _ in self.identity.grants
        )

    def require(self, role: Role, model: str | None = None, what: str = "") -> None:
        """Raise unless it has this role for this model; None: for all models.

        Args:
            role: The role.
            model: The model's name as the caller gives it.
            what: What takes the role, for the message.

        Raises:
            Unauthenticated: It has no valid token.
            Forbidden: It has one, and not this role; or no token would help.
        """
        if not self.may(role, model):
            self.refuse(role, model, what)

    def refuse(self, role: Role, model: str | None = None, what: str = "", *, for_any: bool = False) -> None:
        """Raise the refusal of a call that takes this role; `for_any`: for any model. Raises as `require`."""
        what = what or "this call"
        called = {"role": role, **({} if model is None else {"model": f"{model:.80}"})}
        tell = partial(self.refusals.tell, by=self.actor(), peer=self.peer, call=what, **called)
        if self.barred and role in ("learn", "operate"):
            why = "not for web pages or other machines without a token_file"
            tell(reason="forbidden", why=why, problem=self.barred)
            raise Forbidden(f"{what} takes the role {role}; {self.barred}")
        where = f" for model {model!r:.80}" if model is not None else "" if for_any else " for all models"
        if self.anonymous:
            tell(reason="unauthenticated", why=_REASONS.get(self.anonymous, _NOT_ACCEPTED), problem=self.anonymous)
            raise Unauthenticated(
                f"a token is required: {what} takes the role {role}{where}, and {self.anonymous}; "
                "send `Authorization: Bearer TOKEN`"
            )
        tell(reason="forbidden", why="the caller lacks the role", caller=self.identity.name)
        raise Forbidden(f"{what} takes the role {role}{where}; {self.identity.name!r} has {self._has()}")

    def _has(self) -> str:
        parts = []
        for roles, models in self.identity.grants:
            listed = ", ".join(sorted(roles))
            parts.append(listed + (f" for {', '.join(sorted(models))}" if models is not None else ""))
        return "; ".join(parts) or "no role"


CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""The caller of the present call; None: the call comes from this process itself."""
