"""Arguments that a text names, in the words of the API."""

from __future__ import annotations

import json
from typing import Final

from lokki.wording import Arguments

_FIELDS: Final = {"from_stage": "from"}


def as_fields(arguments: Arguments) -> str:
    """Python's arguments as members of a request: ``"from": "clean"``."""
    named = {_FIELDS.get(name, name): value for name, value in arguments.given.items()}
    return ", ".join(
        json.dumps(name) if value is ... else f"{json.dumps(name)}: {json.dumps(value)}"
        for name, value in named.items()
    )
