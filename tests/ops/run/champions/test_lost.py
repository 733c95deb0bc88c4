"""A promotion that is recorded nowhere any more is told, until somebody promotes again."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.ops.run.champions.test_judges import MEAN, RIDGE, configuration, promotions
from thalweg.memory.audit import FILE, Actor, audit_log
from thalweg.ops.cli.promote import promote
from thalweg.ops.run.champions.lost import lost_promotions
from thalweg.ops.run.successors import aliases_folder, promotions_path
from thalweg.stream.journal.promotions import Promotions


def test_where_aliases_were_lost_the_promotion_is_told_and_how_to_make_it_again(tmp_path: Path) -> None:
    config = configuration(tmp_path, MEAN, RIDGE, "")
    Path(config.service.state_dir).mkdir()
    assert not list(lost_promotions(config)), "nothing was promoted"
    promote(config, "fraud", "b", back=False, force=True)
    assert not list(lost_promotions(config)), "it is recorded"

    shutil.rmtree(aliases_folder(config))
    (said,) = lost_promotions(config)
    Promotions(promotions_path(config, "fraud"), lambda: datetime.now(UTC).timestamp() + 60).settle("a", ["a", "b"])
    (after,) = lost_promotions(config)

    assert "alias 'fraud': the audit log tells of a promotion of 'b' at " in said
    assert "it was lost, and 'a' answers" in said
    assert said.endswith("promote again: `thalweg promote CONFIG --alias fraud --model b`")
    assert after == said, "also when a new file was begun"
    promote(config, "fraud", "b", back=False, force=True)
    assert promotions(config)[-1].champion == "b"
    assert not list(lost_promotions(config))


@pytest.mark.parametrize("arguments", [{"model": "b"}, {"back": True}])
def test_promotions_over_rest_are_told_and_what_is_no_line_is_left_out(
    tmp_path: Path, arguments: dict[str, object]
) -> None:
    config = configuration(tmp_path, MEAN, RIDGE, "")
    folder = Path(config.service.state_dir)
    folder.mkdir()
    audit = audit_log(folder, told=False)
    audit.record("promote", Actor("x", "token"), "done", subject="fraud", arguments=arguments)
    audit.record("promote", Actor("x", "token"), "failed", subject="fraud", arguments={"model": "a"})
    with (folder / FILE).open("ab") as file:
        file.write(b'{"action": "promote", "outc')

    (said,) = lost_promotions(config)

    assert ("of 'b' at" in said) is ("model" in arguments)
