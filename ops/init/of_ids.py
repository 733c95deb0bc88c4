"""What to write instead where a sample looks like clicks of users on items, or like events of keys over time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

_USERS = re.compile(r"(^|[._])(user|customer|visitor|member|client|account|session|device|card)(_?id|Id)?$", re.I)
_ITEMS = re.compile(r"(^|[._])(item|product|sku|movie|film|article|song|track|video|book|ad|offer)(_?id|Id)?$", re.I)


def other_learners(columns: Iterable[str], label: str, time: str) -> Iterator[str]:
    """Comments that say which columns a recommender or a point process would take as ids.

    Args:
        columns: Names or paths of all columns of the sample.
        label: The label's.
        time: The event time's; empty: there is none.
    """
    user = next((name for name in columns if name != label and _USERS.search(name)), None)
    item = next((name for name in columns if name != label and _ITEMS.search(name)), None)
    if user is not None and item is not None:
        yield ""
        yield "# Users and items: if the label is a click, or a liking from 0 to 1, a recommender takes them as ids."
        yield "# Write above, instead of the learner and of these two columns:"
        yield '# learner = "error_memory"'
        yield f"# user = {_column(user)}"
        yield f"# item = {_column(item)}"
    if user is not None and time:
        yield ""
        yield "# Events over time: if the label is the kind of an event, a point process predicts each key's next one."
        yield "# Write above, instead of the learner and of all columns:"
        yield '# learner = "prompt_tpp"'
        yield f"# key = {_column(user)}"


def _column(field: str) -> str:
    return f'{{ kind = "hashed", field = {json.dumps(field)} }}'
