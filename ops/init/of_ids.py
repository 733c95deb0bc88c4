"""What to write instead where a sample looks like clicks of users on items, or like events of keys over time."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

_ID = r"([\s_.-]*(id|no|nr|num|number|nummer|key|code))?\.?$"
_PEOPLE = re.compile(
    r"(^|[\W_])(user|customer|visitor|member|client|account|kunden?|kundin|(be)?nutzer|besucher|mitglied|klient"
    rf"|utilisateur|cliente?|usuario|utente){_ID}",
    re.I,
)
_PLACES = re.compile(rf"(^|[\W_])(session|device|card){_ID}", re.I)
_KEYS = re.compile(
    r"(^|[\W_])(key|machine|sensor|host|asset|vehicle|patient|player|subscriber|entity|node|case|trace|series|order|job)"
    r"([\s_]?id)?$",
    re.I,
)
_ITEMS = re.compile(
    r"(^|[\W_])(item|product|sku|movie|film|article|song|track|video|book|ad|offer|artikel|produkt|produit|producto"
    rf"|prodotto|art[íi]culo|pel[íi]cula){_ID}",
    re.I,
)
_IDS = re.compile(
    r"(^|[\W_])(id|uid|oid|uuid|guid|nr|identifier|identifiant|identificador|kennung)\.?$|(?-i:[a-z](Id|ID|Nr)$)"
    r"|[\W_](no|num|number|nummer|numéro|numero|número|n°)\.?$|\wnummer$",
    re.I,
)
_CODES = re.compile(r"(^|[\W_])(id|uid|oid|uuid|guid|zip|(zip|post|postal|pin)[\s_]?code|plz)$|(?-i:[a-z]I[dD])$", re.I)
_LARGE = 1000.0
"""Numbers from here on under a name such as `Kundennummer` are codes; smaller ones may count something."""
_OUTCOMES = re.compile(
    r"fraud|churn|default|spam|cancel|return|refund|chargeback|fail|error|defect|alarm|attack|late", re.I
)
"""Labels of two that are no likings."""
_MOST_OTHERS = 8


def is_key(name: str) -> bool:
    """Whether a column looks like who or what events belong to."""
    return bool(_PEOPLE.search(name) or _PLACES.search(name) or _KEYS.search(name))


def is_item(name: str) -> bool:
    """Whether a column looks like what users take."""
    return bool(_ITEMS.search(name))


def says_id(name: str) -> bool:
    """Whether a column is called an id."""
    return bool(_IDS.search(name))


def is_code(name: str, numbers: Sequence[float]) -> bool:
    """Whether whole numbers under this name are no amounts: ids, and codes of places and articles."""
    if _CODES.search(name) or is_key(name) or is_item(name):
        return True
    return says_id(name) and max(numbers) >= _LARGE


def key_of_events(columns: Mapping[str, str], label_is_class: bool, time: str) -> str | None:
    """The column whose values tell the keys of a point process, where a sample has nothing but them, times and types.

    Args:
        columns: The kind of each column of the sample but its label.
        label_is_class: Whether the label names classes.
        time: The event time's column; empty: there is none.
    """
    others = [name for name in columns if name != time]
    if not label_is_class or not time or len(others) != 1:
        return None
    return others[0] if is_key(others[0]) and columns[others[0]] in ("categorical", "hashed", "numeric") else None


def of_clicks(
    columns: Mapping[str, str], time: str, of_two: bool, label: str = "", again: Container[str] = ()
) -> tuple[str, str] | None:
    """The columns of users and items of which the labels say who likes what: there is little beside them.

    Args:
        columns: The kind of each column of the sample but its label.
        time: The event time's column; empty: there is none.
        of_two: Whether the labels are numbers from 0 to 1, or two names.
        label: The label's name.
        again: Columns whose values come several times.
    """
    found = users_and_items(columns)
    others = [kind for name, kind in columns.items() if found and name not in (*found, time)]
    if found is None or not of_two or all(kind == "datetime" for kind in others):
        return found if of_two else None
    likings = len(others) <= _MOST_OTHERS and not _OUTCOMES.search(label)
    return found if likings and all(name in again for name in found) else None


def other_learners(
    columns: Iterable[str], label: str, time: str, ratings: str = "", two: Sequence[str] = ()
) -> Iterator[str]:
    """Comments that say which columns a recommender or a point process would take as ids.

    Args:
        ratings: What the labels are if they are numbers beyond 0 to 1, such as `1 to 5`.
        columns: Names or paths of all columns of the sample.
        label: The label's.
        time: The event time's; empty: there is none.
        two: The names that are the labels 0 and 1, if they are no numbers.
    """
    columns = [name for name in columns if name not in (label, time)]
    ids = users_and_items(columns)
    key = _first(columns, _PEOPLE, _PLACES, _KEYS)
    if ids is not None:
        user, item = ids
        yield ""
        yield "# Users and items: if the label is a click, or a liking from 0 to 1, a recommender takes them as ids."
        if ratings and not two:
            yield f"# Here it is {ratings}, and error_memory skips what is not from 0 to 1. Append a liking, such as"
            yield "# (rating - lowest) / (highest - lowest), or 1 for the ratings that you call good, else 0."
        yield f"# Write above, instead of the learner{' and its task' if ratings else ''} and of these two columns:"
        yield '# learner = "error_memory"'
        if two:
            yield f"# {names_of_labels(two)}"
        yield f"# user = {column_of(user)}"
        yield f"# item = {column_of(item)}"
    if key is not None and time:
        yield ""
        yield "# Events over time: if the label is the kind of an event, a point process predicts each key's next one."
        yield "# Write above, instead of the learner and of all columns:"
        yield '# learner = "prompt_tpp"'
        yield f"# key = {column_of(key)}"


def users_and_items(columns: Iterable[str]) -> tuple[str, str] | None:
    """The first columns, by name or path, that look like ids of users and of items; None where one is not there."""
    columns = list(columns)
    user = _first(columns, _PEOPLE, _PLACES)
    item = _first(columns, _ITEMS)
    return None if user is None or item is None else (user, item)


def _first(columns: Sequence[str], *patterns: re.Pattern[str]) -> str | None:
    """The first column that fits the first of the patterns that one fits."""
    return next((name for pattern in patterns for name in columns if pattern.search(name)), None)


def names_of_labels(two: Sequence[str]) -> str:
    """The key that says which names are the labels 0 and 1."""
    names = ", ".join(json.dumps(name, ensure_ascii=False) for name in two)
    return f"{f'classes = [{names}]':<38} # the labels 0 and 1; turn them if the first is what is to be found"


def column_of(field: str) -> str:
    """The column that holds ids of this field."""
    return f'{{ kind = "hashed", field = {json.dumps(field)} }}'
