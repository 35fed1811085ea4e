"""A request to run a flow, parsed in the flow's process: without pydantic.

Importing pydantic would take as long as all else that such a process imports.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from lokki.errors import DefinitionError, Picklable
from lokki.store.shown import DEEPEST, is_deep
from lokki.tags import checked_tags


class WrongRequest(Picklable, Exception):
    """A request's body is not valid; each of ``errors`` names a part and the reason."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{each['name']}: {each['message']}" for each in errors))
        self.errors = errors


class Asked(NamedTuple):
    """What a request asks for: the fields of a `models.RunRequest`."""

    params: dict[str, Any]
    no_cache: bool
    tags: tuple[str, ...]


def asked_in(body: bytes) -> Asked:
    """What the body of a request asks for. Raises WrongRequest."""
    part = "body"
    try:
        asked = _object(json.loads(body))
        check_fields(asked)
        part = "body.params"
        params = _object(asked.get("params", {}))
        check_params(params)
        part = "body.no_cache"
        no_cache = asked.get("no_cache", False)
        if not isinstance(no_cache, bool):
            raise ValueError("must be true or false")
        part = "body.tags"
        tags = checked_list(asked.get("tags", []))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        message = f"it is not JSON: {error}"
    except RecursionError:
        message = "it is nested too deeply"
    except ValueError as error:
        message = str(error)
    else:
        return Asked(params, no_cache, tags)
    raise WrongRequest([{"name": part, "message": message}])


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value


def checked_list(tags: Any) -> tuple[str, ...]:
    """The tags in a request. Raises ValueError."""
    if not isinstance(tags, list):
        raise ValueError("must be a list of texts")
    try:
        return checked_tags(tags)
    except DefinitionError as error:
        raise ValueError(str(error)) from None


def check_fields(asked: dict[str, Any]) -> None:
    """Raise ValueError for anything beside the fields of a `models.RunRequest`."""
    others = [name for name in asked if name not in Asked._fields]
    if others:
        write = f'{{"params": {{{json.dumps(others[0])}: …}}}}'
        raise ValueError(f"parameters of the flow belong in 'params': write {write}")


def check_params(params: dict[str, Any]) -> None:
    """Raise ValueError for what cannot be shown: too deep, or half a character as JSON may have."""
    try:
        text = json.dumps(params, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode: half a surrogate pair is not a character") from None
    except RecursionError:
        text = None
    if text is None or is_deep(params, text):
        raise ValueError(f"must be nested at most {DEEPEST} levels deep")
