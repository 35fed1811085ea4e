"""Examples of values for a parameter, for messages and help."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import Any, Final

from lokki.errors import DefinitionError, ParameterError
from lokki.params.checking import check_value
from lokki.params.kinds import choices_of
from lokki.params.parameter import Parameter
from lokki.params.words import named_values, typed
from lokki.wording import Placeholder

_EXAMPLES: Final = (
    "text", "2026-02-03T10:30:00", "2026-02-03", "PT1H30M", ["a", "b"], [1, 2], {"key": "text"},
    {"key": 5}, 5, 0.5,
)  # fmt: skip
"""Candidates: the first one that a parameter accepts is its example."""


def example_of(parameter: Parameter) -> Any:
    """A value that a parameter accepts from Python, in JSON and, typed, at the terminal.

    A `Placeholder` for its type if it accepts none of the candidates.
    """
    if parameter.is_flag:
        return True
    listed = [
        text if isinstance(value, Enum) else value
        for kind in choices_of(parameter.annotation)
        for text, value in named_values(kind).items()
    ]
    for value in (*listed, *_EXAMPLES):
        with suppress(DefinitionError, ParameterError):
            check_value(parameter, typed(value), True)
            return value
    return Placeholder(parameter.metavar)
