"""A commented configuration from what was guessed of a sample."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from thalweg.models.contract.registry import find
from thalweg.ops.init.guess import Guessed
from thalweg.ops.init.kinds import Guess
from thalweg.ops.init.of_ids import (
    column_of,
    key_of_events,
    names_of_labels,
    of_clicks,
    other_learners,
    users_and_items,
)
from thalweg.proto.bounds.counted import counted

_MANY_TYPES = 48  # of 64, which is the room of prompt_tpp
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def configuration(
    guessed: Guessed,
    *,
    name: str,
    topic: str,
    log_url: str,
    origin: str,
    rows: int,
    own_form: bool,
    registry_url: str | None = None,
) -> str:
    """A TOML file.

    Args:
        guessed: The columns of the sample.
        name: The model's name.
        topic: The topic of its events.
        log_url: The log.
        origin: The file or topic of the sample, for a comment.
        rows: Rows of the sample.
        own_form: The records are events of our own form: no fields are mapped.
        registry_url: The schema registry of framed records; None: there is none.
    """
    head = _head(log_url, registry_url, origin, rows)
    return "\n".join([*head, *_model(guessed, name, topic, own_form)]) + "\n"


def configuration_of_sequences(types: int, *, name: str, topic: str, log_url: str, origin: str, rows: int) -> str:
    """A TOML file for lines that are event sequences, of so many types; the other arguments as of `configuration`."""
    of_sequences = (
        "[[model]]",
        f"name = {_string(name)}",
        'learner = "prompt_tpp"                 # of each key, the type and the time of its next event',
        f"topic = {_string(topic)}",
        'inputs.key = { shape = [], dtype = "bytes" }',
        *_params_of_types(types),
    )
    return "\n".join([*_head(log_url, None, origin, rows), *of_sequences]) + "\n"


def _params_of_types(types: int) -> Iterator[str]:
    """Room for the types of events, where the usual one is little."""
    if types > _MANY_TYPES:
        yield ""
        yield "[model.params]"
        yield _noted(f"max_types = {1 << (types + types // 2 - 1).bit_length()}", f"{types:,} in the sample")


def _head(log_url: str, registry_url: str | None, origin: str, rows: int) -> Iterator[str]:
    sample = f"{counted(rows, 'row')} of {_one_line(origin)}"
    yield f"# Made from a sample: {sample}. Everything below is a guess: read it once."
    yield ""
    yield "[service]"
    yield 'grpc = "127.0.0.1:8081"'
    yield 'http = "127.0.0.1:8080"                # metrics, REST, live page'
    yield 'state_dir = "state"'
    yield ""
    yield "[log]"
    yield f"url = {_string(log_url)}"
    if registry_url is not None:
        yield ""
        yield "[log.registry]                         # user and password: THALWEG_LOG__REGISTRY__USER, …__PASSWORD"
        yield f"url = {_string(registry_url)}"
    yield ""


def _model(guessed: Guessed, name: str, topic: str, own_form: bool) -> Iterator[str]:
    kinds = {column: one.kind for column, one in guessed.columns.items()}
    key = None if own_form else key_of_events(kinds, guessed.task == "classification", guessed.time)
    clicks = (
        None
        if own_form or key
        else of_clicks(kinds, guessed.time, guessed.likings or bool(guessed.two), guessed.label, guessed.again)
    )
    yield "[[model]]"
    yield f"name = {_string(name)}"
    if clicks is not None:
        yield _noted('learner = "error_memory"', "of users and items, how likely the label is 1; others: docs/learners")
        if guessed.two:
            yield names_of_labels(guessed.two)
    elif key is None:
        ids = (
            None
            if own_form
            else users_and_items(
                name for name in (*guessed.columns, *guessed.left_out) if name not in (guessed.label, guessed.time)
            )
        )
        told = 'of users and items first try "error_memory", see below; ' if ids else ""
        yield _noted('learner = "ridge"', f"exact, nothing to tune; {told}others: docs/learners")
    else:
        yield 'learner = "prompt_tpp"                 # of each key, the type and the time of its next event'
    yield f"topic = {_string(topic)}"
    yield _noted(f"# labels_topic = {_string(name + '.labels')}", "if labels come later, joined by id")
    least = 1 if key is None else getattr(find("prompt_tpp"), "least_batch_events", 1)
    usual = "learned at once: one by one while the stream is slow, up to 256 in a backlog"
    yield _noted('# batch_events = "auto"', usual if least == 1 else f"of this learner always {least} events at once")
    if key is not None:
        yield from _params_of_types(guessed.classes)
    if guessed.task == "regression" and clicks is None:
        yield ""
        yield "[model.params]"
        yield 'task = "regression"                    # the label is a number'
    if guessed.envelope:
        yield ""
        yield f"# {guessed.envelope}."
    if not own_form:
        yield ""
        yield "[model.fields]                         # where the parts of an event stand in a record"
        if guessed.label_doubt:
            yield f"# please check: {_one_line(guessed.label_doubt)}"
        yield _noted(f"label = {_string(guessed.label)}", guessed.label_note)
        yield _id(guessed)
        yield _time(guessed)
        if key is None:
            yield '# key = "customer"                     # whose event it is'
        yield '# unknown = "reject"                   # default: fields that are not named here are ignored'
    yield ""
    yield "[model.columns]"
    if key is not None:
        yield _noted(f"key = {column_of(key)}", guessed.columns[key].note)
        yield "# To predict the type from columns, whatever came before, write above and instead of the column:"
        yield '# learner = "ridge"'
        yield from (f"# {_key(column)} = {_column(one)}" for column, one in guessed.columns.items())
        return
    if clicks is not None:
        for role, column in zip(("user", "item"), clicks):
            yield _noted(f"{role} = {column_of(column)}", guessed.columns[column].note)
        yield from _columns({name: one for name, one in guessed.columns.items() if name not in clicks}, guessed)
        yield "# To predict the label from columns as they are, write above and instead of these two:"
        yield '# learner = "ridge"'
        yield from (f"# {_key(column)} = {_column(one)}" for column, one in guessed.columns.items())
        return
    yield from _columns(guessed.columns, guessed)
    if not own_form:
        found = [*guessed.columns, *guessed.left_out]
        yield from other_learners(found, guessed.label, guessed.time, guessed.label_range, guessed.two)


def _columns(columns: Mapping[str, Guess], guessed: Guessed) -> Iterator[str]:
    for column, one in columns.items():
        if one.doubt:
            yield f"# please check: {_one_line(one.doubt)}"
        yield _noted(f"{_key(column)} = {_column(one)}", one.note)
    for column, why in guessed.left_out.items():
        yield f"# {_one_line(_key(column))}: left out, {_one_line(why)}"


def _id(guessed: Guessed) -> str:
    if guessed.id:
        return _noted(f"id = {_string(guessed.id)}", "late labels are joined, and duplicates dropped, by it")
    return _noted('# id = "id"', "late labels are joined, and duplicates dropped, by it")


def _time(guessed: Guessed) -> str:
    if not guessed.time:
        why = f"default: the record's own time{'; ' * bool(guessed.time_note)}{guessed.time_note}"
        return _noted('# time = "created"', why)
    field = f"{{ field = {_string(guessed.time)}, unit = {_string(guessed.time_unit)} }}"
    return f"time = {_string(guessed.time) if guessed.time_unit == 'auto' else field}"


def _column(one: Guess) -> str:
    if not one.options:
        return _string(one.kind)
    options: Mapping[str, Any] = {"kind": one.kind, **one.options}
    return f"{{ {', '.join(f'{key} = {_value(value)}' for key, value in options.items())} }}"


def _noted(line: str, note: str) -> str:
    return f"{line:<38} # {_one_line(note)}" if note else line


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(name)} = {_value(one)}' for name, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return _string(value) if isinstance(value, str) else str(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    """A TOML string: JSON's escapes are a part of TOML's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)
