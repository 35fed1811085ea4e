"""Values as JSON has them, and as messages show them."""

from __future__ import annotations

from typing import Any

from lokki.defaults import own
from lokki.numeric import json_whole


def to_json(value: Any) -> Any:
    import json

    try:
        try:
            encoded = json.dumps(value, default=json_whole)
        except TypeError:
            from pydantic_core import to_jsonable_python

            encoded = json.dumps(to_jsonable_python(value, fallback=_repr))
        return json.loads(encoded, parse_constant=str)  # "Infinity": JSON has no number for it
    except Exception:
        return _repr(value)


def is_default(value: Any, default: Any) -> bool:
    """Whether a value is a default, or a copy of a mutable one."""
    if value is default:
        return True
    copied = type(value) is type(default) and own(default) is not default
    return copied and bool(to_json(value) == to_json(default))


def brief(value: object) -> str:
    text = " ".join(_repr(value).split())
    return text if len(text) <= 60 else text[:59] + "…"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
