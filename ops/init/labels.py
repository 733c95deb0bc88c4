"""What the labels of a sample are: classes or numbers."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from thalweg.ops.init.readings import is_number, joined, missing, missing_label, numbers_of, text_of, whole
from thalweg.ops.init.sample import shown
from thalweg.ops.init.slips import slips_told
from thalweg.ops.init.written.local import numbers_written
from thalweg.ops.init.written.markers import is_marker, markers_in
from thalweg.ops.run.failed import Failed
from thalweg.proto.bounds.counted import counted
from thalweg.proto.columns import ZERO_AND_ONE

_ROWS, _TIMES = 20, 4
"""Rows from which on a column may be told to say the label, if labels come so often on average."""
_CHANCE = 1e-6
"""Of values that come with one label alone, below which that is none."""
_LIST = re.compile(r"\[.*\]", re.DOTALL)
_RUN = 10  # rows of each label from which on an order by labels is no chance
_FEW = 0.05  # share of different values below which whole numbers of a label are classes


def task_of_labels(column: Sequence[Any]) -> tuple[str, str]:
    """`classification` or `regression`, and why. Raises Failed if all labels are missing."""
    given = [value for value in column if not missing_label(value)]
    if not given:
        raise Failed("the label's column is always empty in the sample")
    if (one := next((value for value in given if isinstance(value, list)), None)) is not None:
        raise Failed(
            f"the label's values are lists, such as {shown(one)}: a row has one class or number. Write a column of "
            "0 and 1 for each class, and a model for each; or name another --label"
        )
    gone = f"{1 - len(given) / len(column):.0%} missing" if len(given) < len(column) else ""
    if markers := markers_in(given, is_number):
        values = [value for value in given if is_number(value)]
        if _regression(values):
            odd = ", ".join(map(shown, markers))
            return "regression", joined(f"{len(given) - len(values)} are {odd}: rows with them are refused", gone)
    texts = Counter(map(text_of, given))
    numbers = numbers_of(given)
    if numbers is not None and _regression(given):
        return "regression", joined(f"numbers, {min(numbers):g} to {max(numbers):g}", gone)
    often = ", ".join(f"{text} {_percent(count / len(given))}" for text, count in texts.most_common(4))
    if numbers_written(given) is not None and len(texts) > max(20, _FEW * len(given)):
        raise Failed(
            f"the label's texts, such as {shown(given[0])}, are numbers as people write them, {len(texts):,} different "
            f"ones: write them with a point and nothing else, such as 1234.5, or name another --label"
        )
    return "classification", joined(f"{counted(len(texts), 'class')}: {often}", gone)


def label_doubt(column: Sequence[Any]) -> str:
    """What may be wrong with labels; empty: nothing."""
    given = [value for value in column if not missing_label(value)]
    return joined(_sorted(given), _doubt_of_form(given))


def _sorted(given: Sequence[Any]) -> str:
    """Told where rows stand in the order of their labels: a file was sorted, and no stream comes so."""
    runs = [(label, sum(1 for _ in run)) for label, run in groupby(map(text_of, given))]
    of_classes = len({label for label, _ in runs}) == len(runs) and all(count >= _RUN for _, count in runs)
    numbers = numbers_of(given) if len(given) >= 2 * _RUN else None
    upward = numbers is not None and (numbers == sorted(numbers) or numbers == sorted(numbers, reverse=True))
    if not (len(runs) > 1 and (of_classes or (upward and len(set(numbers or ())) > 2))):
        return ""
    return (
        "the rows are sorted by it, so that a replay grades no more than that: put them in the order in which they "
        "came, or shuffle them if they came in none"
    )


def _doubt_of_form(given: Sequence[Any]) -> str:
    written = numbers_written([value for value in given if not is_marker(value)])
    if given and all(isinstance(value, str) and _LIST.fullmatch(value.strip()) for value in given):
        return f"each list, such as {shown(given[0])}, is a class of its own; a row has one class"
    if written is None:
        codes = numbers_of(given) is not None
        return "" if codes else slips_told(map(text_of, given))
    text = shown(next(value for value in given if isinstance(value, str)))
    return f"labels such as {text} are names of classes; for a regression write them as numbers with a point"


def doubt_of_leak(name: str, column: Sequence[Any], labels: Sequence[Any]) -> str:
    """Why a column may be known only once the label is, to be told aloud; empty: it is not."""
    if says_the_label(column, labels):
        why = "each value stands for one label"
    elif one := _given_with(column, labels):
        why = f"it has values with the label {one} alone"
    else:
        return ""
    return f"{why}: known only with the label? --ignore {shlex.quote(name)} then"


def _given_with(column: Sequence[Any], labels: Sequence[Any]) -> str:
    """The one label with which the column has values, as the date of a chargeback has; empty: there is none."""
    known = [text_of(label) for label in labels if not missing_label(label)]
    given = [text_of(label) for one, label in zip(column, labels) if not (missing(one) or missing_label(label))]
    if len(set(given)) != 1:
        return ""
    chance = (known.count(given[0]) / len(known)) ** len(given)
    return given[0] if chance < _CHANCE else ""


def says_the_label(column: Sequence[Any], labels: Sequence[Any]) -> bool:
    """Whether a column is the label under another name, as one that was filled in with it: each value goes with one
    label and each label with one value, of labels that come several times.
    """
    pairs = [
        (text_of(one), text_of(label)) for one, label in zip(column, labels) if not (missing(one) or missing(label))
    ]
    different = set(pairs)
    values, names = ({pair[place] for pair in different} for place in (0, 1))
    often = len(pairs) >= _ROWS and 1 < len(names) <= len(pairs) / _TIMES
    return often and len(values) == len(names) == len(different)


def numbers_beyond_one(column: Sequence[Any]) -> str:
    """The range of labels that are all numbers, if it goes beyond 0 to 1, such as `1 to 5`; empty else."""
    numbers = numbers_of([value for value in column if not missing_label(value)]) or []
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    return f"{low:g} to {high:g}" if low < 0 or high > 1 else ""


def are_likings(column: Sequence[Any]) -> bool:
    """Whether all labels are numbers from 0 to 1, or truth values."""
    given = [float(value) if isinstance(value, bool) else value for value in column if not missing_label(value)]
    numbers = numbers_of(given)
    return bool(numbers) and all(0 <= number <= 1 for number in numbers or ())


def zero_and_one(column: Sequence[Any]) -> tuple[str, ...]:
    """The two names that are the labels 0 and 1, where there are two that a recommender does not take as they are.

    Of no and yes it is known which is which, of numbers the larger is 1, and of others that which comes more seldom.
    """
    given = [value for value in column if not missing_label(value)]
    often = [name for name, _ in Counter(map(text_of, given)).most_common()]
    if len(often) != 2 or are_likings(given):
        return ()
    if (numbers := numbers_of(given)) is not None:
        return tuple(text for _, text in sorted(set(zip(numbers, map(text_of, given)))))
    small = tuple(name.strip().lower() for name in often)
    return tuple(often[::-1] if small[::-1] in ZERO_AND_ONE else often)


def _percent(share: float) -> str:
    """Of a class, so that a rare one is not none and its other not all."""
    return f"{share:.0%}" if 0.01 <= share <= 0.99 or share == 1.0 else f"{100 * share:.3g}%"


def _regression(given: Sequence[Any]) -> bool:
    """Whether labels, all of them numbers, are more than codes of classes."""
    numbers = numbers_of(given) or []
    return not whole(numbers) or len(set(numbers)) > max(20, _FEW * len(numbers))
