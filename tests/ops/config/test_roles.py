"""Hosts that only learn or only serve: what they need is asked for before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.config.test_config import GOOD, mistakes, written
from thalweg.ops.config.config import load

KAFKA, REDIS = 'url = "kafka://127.0.0.1:1"', 'url = "redis://127.0.0.1:1/0"'


def host(role: str, log: str = "", store: str = "", state_url: str = "", model: str = "") -> str:
    text = GOOD.replace("[service]", f'[service]\nrole = "{role}"\nstate_url = "{state_url}"')
    return text + model + (f"[log]\n{log}\n" if log else "") + (f"[store]\n{store}\n" if store else "")


@pytest.mark.parametrize(
    "text",
    [
        host("all"),
        host("learn", store=REDIS),
        host("learn", state_url="file:objects"),
        host("serve", KAFKA, REDIS),
        host("serve", KAFKA, state_url="file:objects"),
        host("serve", KAFKA, REDIS, "file:objects", 'labels_topic = "l"\n'),
    ],
)
def test_hosts_that_have_a_way_to_each_other_are_valid(tmp_path: Path, text: str) -> None:
    load(written(tmp_path, text), {})


def test_hosts_need_a_way_to_each_other(tmp_path: Path) -> None:
    for role in ("learn", "serve"):
        assert mistakes(tmp_path, host(role, KAFKA)) == [
            f"service.role: {role!r} needs a way between the hosts: store.url of a Redis, or service.state_url; "
            "got neither"
        ]


def test_what_a_serving_host_appends_must_reach_the_learners(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, host("serve", 'url = "sqlite:log.db"', REDIS))

    assert line.startswith("log.url: expected kafka://")
    assert "sqlite: is on this one" in line


def test_requests_that_wait_for_labels_must_be_where_learners_join_them(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, host("serve", KAFKA, state_url="file:objects", model='labels_topic = "l"\n'))

    assert line.startswith("store.url: expected redis://")
    assert "'digits'" in line


def test_shards_need_a_place_of_their_states(tmp_path: Path) -> None:
    for role in ("learn", "serve"):
        (line,) = mistakes(tmp_path, host(role, KAFKA, REDIS, model='scale.by = "partition"\n'))
        assert line.startswith("service.state_url: missing: model 'digits' moves between hosts")


def test_what_hosts_need_is_told_beside_what_is_wrong_otherwise(tmp_path: Path) -> None:
    text = host("serve", 'url = "sqlite:log.db"').replace("[service]", '[service]\ngrcp = 1\nhosts = ["a:1", "b:2"]')

    told = mistakes(tmp_path, text)

    assert "service.hosts: expected names without scheme and port, got 'a:1', 'b:2'" in told
    for place in ("service.grcp", "service.role", "log.url"):
        assert len([line for line in told if line.startswith(f"{place}: ")]) == 1, told


def test_there_is_no_other_role(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, host("both"))

    assert line.startswith("service.role: expected")


def test_events_of_a_scaled_model_that_wait_for_labels_must_be_where_every_host_joins_them(tmp_path: Path) -> None:
    for scale in ("partition", "topic"):
        late = f'labels_topic = "l"\nscale.by = "{scale}"\n'
        (line,) = mistakes(tmp_path, host("all", KAFKA, model=late))
        assert line.startswith("store.url: expected redis://…: model 'digits' with [model.scale] and a labels_topic")
        for sound in (host("all", KAFKA, REDIS, model=late), host("all", model=late)):
            load(written(tmp_path, sound), {})
        assert [one[:10] for one in mistakes(tmp_path, host("serve", KAFKA, "", "file:o", late))] == ["store.url:"]
