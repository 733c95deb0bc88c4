"""The token file: who may do what, hashed, and read again when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from thalweg.ops.serve.access.callers import Caller, Identity
from thalweg.ops.serve.access.refusals import Refusals
from thalweg.ops.serve.access.tokens import Tokens, TokensUnusable, hashed, read_tokens
from thalweg.ops.serve.errors import Forbidden, Unauthenticated

ONE, TWO = "a-token-of-some-length", "another-token-süd-länger"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 2.0  # each call is late enough for a look at the file
        return self.now


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def may(tokens: Tokens, authorization: str | None, role: str, model: str | None = "m") -> bool:
    return caller(*tokens.identity(authorization)).may(role, model)  # type: ignore[arg-type]


def caller(identity: Identity, why: str) -> Caller:
    return Caller(identity, why, Refusals())


def test_a_known_token_may_and_nothing_else(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "t", "# the night shift", ONE, "", f"  {TWO}  "))

    for good in (f"Bearer {ONE}", f"bearer {TWO}", f"BEARER  {ONE} "):
        assert may(tokens, good, "operate"), good
    for bad in (None, "", ONE, f"Basic {ONE}", "Bearer", "Bearer ", f"Bearer {ONE}x", f"Bearer {ONE[:-1]}", "Bearer #"):
        assert not may(tokens, bad, "operate"), bad


@pytest.mark.parametrize("first", [ONE, "# the night shift"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_part_of_a_token(tmp_path: Path, first: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(f"{first}\r\n{ONE}\r\n{TWO}\r\n".encode("utf-8-sig"))

    tokens = Tokens(path)

    assert may(tokens, f"Bearer {ONE}", "operate")
    assert may(tokens, f"Bearer {TWO}", "operate")


def test_a_file_without_roles_means_what_it_meant_before_there_were_any(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "t", ONE))

    assert all(may(tokens, f"Bearer {ONE}", role) for role in ("predict", "learn", "read", "operate"))
    assert [may(tokens, None, role) for role in ("predict", "read", "learn", "operate")] == [True, True, False, False]


def test_with_roles_who_has_none_has_no_rights_but_those_of_the_line_for_everyone(tmp_path: Path) -> None:
    strict = Tokens(written(tmp_path / "s", ONE, f"{TWO} roles=read"))
    open_ = Tokens(written(tmp_path / "o", f"{TWO} roles=read", "anonymous roles=predict models=m"))

    assert not any(may(strict, None, role) for role in ("predict", "learn", "read", "operate"))
    assert (may(open_, None, "predict"), may(open_, None, "predict", "other"), may(open_, None, "read")) == (
        True,
        False,
        False,
    )


def test_a_token_has_its_roles_for_its_models_and_lines_of_one_token_add_up(tmp_path: Path) -> None:
    tokens = Tokens(
        written(tmp_path / "t", f"{ONE} roles=predict,learn models=m,alias", f"{ONE} roles=read", f"{TWO} roles=learn")
    )

    one = f"Bearer {ONE}"
    assert may(tokens, one, "predict", "m")
    assert may(tokens, one, "learn", "alias")
    assert may(tokens, one, "learn", "m@2")  # a successor answers for its model
    assert not may(tokens, one, "predict", "n")
    assert not may(tokens, one, "predict", None)
    assert may(tokens, one, "read", None)
    assert not may(tokens, one, "operate", "m")
    assert not may(tokens, f"Bearer {TWO}", "predict")


def test_a_hash_in_the_file_is_as_good_as_the_token(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "t", f"{hashed(ONE)} roles=learn name=jobs"))

    identity, why = tokens.identity(f"Bearer {ONE}")

    assert (identity.name, why) == ("jobs", "")
    assert may(tokens, f"Bearer {ONE}", "learn")
    assert not may(tokens, f"Bearer {hashed(ONE)}", "learn")


def test_no_token_is_kept_in_memory_and_a_name_tells_nothing_of_it(tmp_path: Path) -> None:
    table = read_tokens(written(tmp_path / "t", ONE))

    assert ONE not in repr(table)
    (found,) = table.by_hash.values()
    assert found[1].name.startswith("token-")
    assert table.in_clear == 1


def test_an_expired_token_is_none_and_the_refusal_says_so(tmp_path: Path) -> None:
    tokens = Tokens(
        written(tmp_path / "t", f"{ONE} roles=read name=old expires=2020-01-01", f"{TWO} roles=read expires=2999-01-01")
    )

    with pytest.raises(Unauthenticated, match="that of 'old' has expired"):
        caller(*tokens.identity(f"Bearer {ONE}")).require("read")
    assert may(tokens, f"Bearer {TWO}", "read")


def test_a_refusal_says_what_is_taken_and_what_there_is(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "t", f"{ONE} roles=read,predict models=m name=ada"))

    with pytest.raises(Forbidden, match="this call takes the role learn for model 'm'; 'ada' has predict, read for m"):
        caller(*tokens.identity(f"Bearer {ONE}")).require("learn", "m")
    with pytest.raises(Unauthenticated, match="takes the role learn for model 'm', and the one that came is not known"):
        caller(*tokens.identity(f"Bearer {TWO}")).require("learn", "m")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["# none", ""], "got none"),
        (["anonymous roles=read"], "got none"),
        ([ONE, "short-secret"], "line 2: expected a token of at least 16"),
        ([ONE, "please remember to rotate these"], "line 2: expected a token without spaces, got 5 words"),
        ([f"{ONE} roles=predict,admin"], "line 1: roles: expected some of predict, learn, read, operate, got 'admin'"),
        ([f"{ONE} roles="], "got ''"),
        ([f"{ONE} role=predict"], "expected a token and then roles=, models=, name=, rate= or expires="),
        ([f"{ONE} roles=read roles=learn"], "roles: given twice"),
        ([f"{ONE} models=a,"], "models: expected names"),
        ([f"{ONE} rate=0"], "rate: expected requests per second"),
        ([f"{ONE} rate=many"], "rate: expected requests per second"),
        ([f"{ONE} expires=soon"], "expires: expected a date"),
        ([f"{ONE} name=a/b"], "name: expected letters"),
        ([f"{ONE} name=anonymous"], "name: expected another name"),
        ([f"{ONE} name=x", f"{TWO} name=x"], "two tokens are called 'x'"),
        ([f"{ONE} name=x", f"{ONE} name=y"], "line 2: the same token as in an earlier line"),
        (["sha256:abc roles=read"], "expected sha256: and 64 hexadecimal digits"),
        (["certificate: roles=read"], "expected certificate:COMMON-NAME"),
        ([ONE, "anonymous"], "line 2: expected anonymous roles="),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_without_showing_a_token(
    tmp_path: Path, lines: list[str], text: str
) -> None:
    with pytest.raises(TokensUnusable, match=text) as refused:
        Tokens(written(tmp_path / "t", *lines))

    assert not any(secret in str(refused.value) for secret in (ONE, TWO, "short-secret"))


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokensUnusable, match="cannot be read: No such file"):
        Tokens(tmp_path / "missing")


def test_tokens_are_exchanged_without_a_restart_and_a_bad_exchange_changes_nothing_and_is_told_once(
    tmp_path: Path,
) -> None:
    tokens = Tokens(written(tmp_path / "t", ONE), Clock())

    def now() -> tuple[bool, bool]:
        return may(tokens, f"Bearer {ONE}", "learn"), may(tokens, f"Bearer {TWO}", "learn")

    def after(*lines: str) -> tuple[bool, bool]:
        written(tmp_path / "new", *lines).replace(tmp_path / "t")
        return now()

    assert now() == (True, False)
    assert after(TWO) == (False, True)
    with structlog.testing.capture_logs() as lines:
        assert after("no") == (False, True)
        assert now() == (False, True)
    assert [line["log_level"] for line in lines] == ["error"]
    (tmp_path / "t").unlink()
    assert now() == (False, True)
    assert after(ONE) == (True, False)
