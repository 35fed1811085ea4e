"""User values as JSON for any reader: not too deep, not too long, valid Unicode."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lokki.store.parameters import INLINE_BYTES, short

DEEPEST = 100
"""How many levels of lists and objects of a value are shown: JSON readers have limits."""
_TOO_DEEP = "… (nested too deeply to be shown)"


def plain(value: Any) -> Any:
    """A JSON value without lone surrogates, which UTF-8 cannot encode."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def shown_json(text: str) -> Any:
    """A recorded value to show: `plain`, with at most `DEEPEST` levels of nesting."""
    try:
        value = json.loads(text)
    except RecursionError:
        return {"…": _TOO_DEEP}
    return plain(_cut(value, DEEPEST) if is_deep(value, text) else value)


def shown_params(text: str) -> tuple[dict[str, Any], bool]:
    """Parameters as in a list of runs, and whether long ones are cut."""
    params, is_long = shown_json(text), len(text) > INLINE_BYTES
    return short(params) if is_long else params, is_long


def is_deep(value: Any, text: str) -> bool:
    """Whether the value of the JSON ``text`` is nested more deeply than `DEEPEST`."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for each in level for inner in _inner(each)]
    return any(isinstance(each, list | dict) for each in level)


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _cut(value: Any, deep: int) -> Any:
    if not isinstance(value, list | dict):
        return value
    if deep == 0:
        return _TOO_DEEP
    if isinstance(value, dict):
        return {name: _cut(each, deep - 1) for name, each in value.items()}
    return [_cut(each, deep - 1) for each in value]
