"""Two checkouts are compared figure by figure, and what cannot be compared is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compare import FOLDERS, HERE, Figure, Side, main, paired, ratios, verdict


def figure(*values: float, name: str = "learning", unit: str = "µs", target: str | None = None) -> Figure:
    return Figure(name, unit, target, list(values))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (figure(1, 2, 3), figure(4, 5, 6), "worse"),
        (figure(4, 5, 6), figure(1, 2, 3), "better"),
        (figure(1, 2, 3), figure(3, 4, 5), ""),
        (figure(1, 2), figure(4, 5), ""),
        (figure(1, 2, 3, unit="events/s"), figure(4, 5, 6, unit="events/s"), "better"),
        (figure(1, 2, 3, unit="×", target="≥ 1"), figure(4, 5, 6, unit="×", target="≥ 2"), "better"),
        (figure(1, 2, 3, unit="×", target="≤ 1"), figure(4, 5, 6, unit="×", target="≤ 1"), "worse"),
        (figure(1, 2, 3, unit="×"), figure(4, 5, 6, unit="×"), ""),
        (figure(1, 2, 3), figure(4, 5, float("nan")), ""),
    ],
)
def test_a_figure_is_worse_or_better_where_the_rounds_do_not_overlap(before: Figure, after: Figure, said: str) -> None:
    assert verdict(before, after) == said


def test_ratios_are_taken_round_by_round_of_what_is_above_zero() -> None:
    assert ratios(figure(1, 2), figure(2, 6)) == [2, 3]
    assert ratios(figure(0, 2), figure(2, 6)) == []
    assert ratios(figure(1, 2), figure(-2, 6)) == []


def sides(before: list[Figure], after: list[Figure]) -> list[tuple[str | None, str | None]]:
    pairs = paired(Side({one.name: one for one in before}), Side({one.name: one for one in after}))
    return [(old and old.name, new and new.name) for old, new in pairs]


def test_figures_are_paired_by_name_and_else_by_place_where_only_words_have_changed() -> None:
    a, b, c = figure(1, name="a"), figure(1, name="b"), figure(1, name="c", unit="ms")
    assert sides([a, b], [b, a]) == [("b", "b"), ("a", "a")]
    assert sides([a, b], [a, figure(2, name="B")]) == [("a", "a"), ("b", "B")]
    assert sides([a, b], [a, c]) == [("a", "a"), (None, "c"), ("b", None)]


@pytest.mark.slow
def test_a_checkout_that_cannot_run_a_benchmark_is_told_as_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older checkout: without the folder of links, and its benchmark hands over what is not taken any more."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    (tmp_path / "proto" / "event.py").touch()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "codecs.py").write_text(
        "import thalweg.proto.event\ndef run(quick):\n    raise AttributeError('no news')\n"
    )

    code = main([str(tmp_path), "codecs", "--quick", "--rounds", "1"])

    shown = capsys.readouterr().out
    assert code == 0
    assert "before failed: AttributeError: no news" in shown
    assert "one JSON event" in shown
    assert not (tmp_path / "thalweg").exists()


@pytest.mark.slow
def test_a_checkout_is_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(HERE), "codecs", "--tiny", "--rounds", "2"])

    shown = capsys.readouterr().out
    assert code == 0
    assert "failed" not in shown
    assert "one event of an EventBatch of 1,000" in shown
    assert "nothing is worse" in shown


@pytest.mark.parametrize(
    ("arguments", "words"), [([".", "speed"], "no benchmark is called 'speed'"), (["/"], "/ has no folder benchmarks/")]
)
def test_what_is_not_there_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    with pytest.raises(SystemExit):
        main(arguments)

    assert words in capsys.readouterr().err
