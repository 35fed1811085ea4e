"""Conditions that find runs by their tags, parameters and texts, for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress

_TEXTS = ("id", "tags", "params_json", "coalesce(error, '')")


def conditions(
    tags: Sequence[str], params: Sequence[str], search: str | None
) -> Iterator[tuple[str, Sequence[str]]]:
    """Conditions on the table ``runs``, each with its values.

    ``tags``: all of them. ``params``: each a ``NAME=VALUE``; the value is JSON or a text. A
    parameter may also be a field in another one. ``search``: a text in the id, the tags, the
    parameters or the error, whatever the case of its ASCII letters.
    """
    for tag in tags:
        yield "instr(tags, ?) > 0", [json.dumps(tag)]
    for param in params:
        name, _, value = param.partition("=")
        parts = [
            f"{json.dumps(name)}: {each}{end}" for each in _as_json(value) for end in (",", "}")
        ]
        yield f"({' OR '.join(['instr(params_json, ?) > 0'] * len(parts))})", parts
    if search:
        text = json.dumps(search)[1:-1].lower()  # as the columns have it, which are JSON
        yield (
            f"({' OR '.join(f'instr(lower({column}), ?) > 0' for column in _TEXTS)})",
            [text] * len(_TEXTS),
        )


def _as_json(value: str) -> set[str]:
    """A value as JSON may have it: as a text and, if it is JSON itself, as that."""
    written = {json.dumps(value)}
    with suppress(ValueError, RecursionError):
        written.add(json.dumps(json.loads(value)))
    return written
