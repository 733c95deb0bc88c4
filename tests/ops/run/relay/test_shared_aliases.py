"""Aliases of models that move between hosts: a promotion counts on all, wherever it was made, and outlasts its host."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.ops.run.relay.test_following import ALIAS, RIDGE, host, learning
from tests.samples import events
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.ops.cli.produce import messages
from thalweg.ops.cli.promote import promote
from thalweg.ops.config.config import Config
from thalweg.ops.run.champions.promotable import refusals
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.relay.board import open_board
from thalweg.ops.run.relay.notes import LocalNotes, RemoteNotes, keep_aliases
from thalweg.ops.run.shards.group import member_name
from thalweg.ops.run.successors import promotions_path
from thalweg.stream.journal.promotions import Promotion, Promotions

TOPIC = dict.fromkeys(("a", "b"), RIDGE + 'scale.by = "topic"\n')
KEYED = dict.fromkeys(("a", "b"), RIDGE + 'scale.answers = "key"\n')


def promotions(config: Config) -> tuple[Promotion, ...]:
    return Promotions(promotions_path(config, "x")).read()


def champion(config: Config) -> str:
    known = promotions(config)
    return known[-1].champion if known else ""


@pytest.mark.parametrize("models", [TOPIC, KEYED], ids=["one model on whichever host", "shards by key"])
def test_a_promotion_on_one_host_counts_on_all_and_is_gone_back_from_on_another(
    tmp_path: Path, models: dict[str, str]
) -> None:
    log = PartitionedLog(2)
    log.append("t", messages(events(200), 1))
    one, two, server = (
        host(tmp_path, role, ALIAS, name, **models)
        for role, name in (("learn", "one"), ("learn", "two"), ("serve", "s"))
    )
    board = open_board(server)
    with ExitStack() as stack:
        stack.enter_context(learning(two, log))
        with learning(one, log):

            def promoted() -> bool:
                for host in (one, two):  # the one that has learned it, which may change while shards move
                    if not refusals(host, "a", "b"):
                        with suppress(Failed):
                            promote(host, "x", "b", back=False, force=False)
                            return True
                return False

            until("one of them to have learned and promoted it", promoted)
            until("both to know", lambda: [champion(one), champion(two)] == ["b", "b"])
        for group in log.groups.values():  # its session ends
            group.expel(member_name(one, one.model[0]))
        until("the other to have learned both", lambda: not refusals(two, "b", "a"), 60)
        promote(two, "x", None, back=True, force=False)

        def served() -> list[tuple[int, str, str]]:
            keep_aliases(server, board)
            return [(made.number, made.champion, made.cause) for made in promotions(server)]

        until(
            "the server to know of both",
            lambda: served() == [(0, "a", "first"), (1, "b", "promoted"), (2, "a", "back")],
        )


def test_what_is_not_learned_on_a_host_is_promoted_on_another(tmp_path: Path) -> None:
    config = host(tmp_path, "learn", ALIAS, **TOPIC)

    with pytest.raises(Failed, match="is the service running, and is it learned on this host"):
        promote(config, "x", "b", back=False, force=False)


def test_of_promotions_on_two_hosts_at_once_both_keep_the_later_one(tmp_path: Path) -> None:
    hosts = [host(tmp_path, "learn", ALIAS, name, **TOPIC) for name in ("one", "two")]
    board = open_board(hosts[0])
    for number, config in enumerate(hosts):
        made = Promotions(promotions_path(config, "x"), lambda number=number: 1e9 + number)
        made.promote("ab"[number], made.settle("a", ["a", "b"])[-1])
    for _ in range(2):
        for name, config in zip(("one", "two"), hosts):
            LocalNotes(config, tmp_path).tell(board, name)
            remote = RemoteNotes(config, board)
            remote.look_at_aliases()
            remote.keep_files()

    assert [champion(config) for config in hosts] == ["b", "b"]
    assert promotions(hosts[0]) == promotions(hosts[1])


@pytest.mark.parametrize("files", [[], {"x.jsonl": "nothing"}, {"x.jsonl": ""}, {"../x": "y"}])
def test_what_is_no_record_of_promotions_is_passed_over(tmp_path: Path, files: object) -> None:
    config = host(tmp_path, "serve", ALIAS, **TOPIC)
    board = open_board(config)
    promotions_path(config, "x").parent.mkdir(parents=True)
    board.note_host("a", "h", json.dumps({"time": 0.0, "components": [], "files": files}).encode())
    remote = RemoteNotes(config, board)
    remote.look_at_aliases()

    assert remote.keep_files() == []
    assert list(promotions_path(config, "x").parent.iterdir()) == []
