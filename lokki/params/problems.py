"""Sentences about wrong values, and about what is allowed."""

from __future__ import annotations

from collections import abc
from enum import Enum
from typing import Any, Final, get_args

from lokki.params.kinds import choices_of
from lokki.params.parameter import Parameter
from lokki.params.values import brief
from lokki.params.words import label_of, named_values
from lokki.wording import Arguments, Wording

_REASONS: Final = {  # by the beginning of pydantic's message
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid datetime": "a date and time (YYYY-MM-DDTHH:MM:SS)",
    "a valid date": "a date (YYYY-MM-DD)",
    "a valid duration": "a duration (such as PT1H30M)",
    "a valid timedelta": "a duration (such as PT1H30M)",
}


def sentence(parameter: Parameter, value: Any, errors: list[Any], as_text: bool) -> str:
    paths = [_path(error, value) for error in errors]
    deepest = max(paths, key=len)  # for a union, the member with most to say
    there = [error for error, path in zip(errors, paths, strict=True) if path == deepest]
    where = "".join(f".{p}" if str(p).isidentifier() else f"[{p!r}]" for p in deepest)
    allowed = "" if deepest else _allowed(parameter)
    reason = " or ".join(dict.fromkeys(_reason(error, allowed) for error in there))
    shown = brief(there[0]["input"])
    text = f" {reason}, not {shown}" if "must be" in reason else f": {reason} (given {shown})"
    kind = next(
        (c for c in choices_of(parameter.annotation) if label_of(c).startswith("JSON ")), None
    )
    if as_text and kind is not None and not deepest:
        items = [1, 2] if get_args(kind)[:1] in ((int,), (float,)) else ["a", "b"]
        example = items if label_of(kind) == "JSON list" else {"key": "…"}
        written = Arguments(**{parameter.name: example})
        return Wording(f"parameter '{parameter.name}'{text}; write it as ", written)
    return f"parameter '{parameter.name}{where}'{text}"


def _reason(error: Any, allowed: str) -> str:
    if allowed and error["type"] in ("enum", "literal_error"):
        return f"must be {allowed}"
    text: str = error["msg"].replace("Input should be", "must be")
    return next(
        (f"must be {our}" for its, our in _REASONS.items() if text.startswith(f"must be {its}")),
        text,
    )


def _allowed(parameter: Parameter) -> str:
    """The values of an enum or Literal parameter in words; empty for others."""
    choices = [
        each for kind in choices_of(parameter.annotation) for each in named_values(kind).items()
    ]
    shown = [repr(text if isinstance(value, Enum) else value) for text, value in choices]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)


def _path(error: Any, value: Any) -> tuple[int | str, ...]:
    """The place in the value; pydantic's ``loc`` also names the members of unions that it tried."""
    path: list[int | str] = []
    for part in error["loc"]:
        is_key = isinstance(value, abc.Mapping) and part in value
        if is_key or (isinstance(value, (list, tuple)) and part in range(len(value))):
            value = value[part]
            path.append(part)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)
