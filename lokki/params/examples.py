"""Examples of what to type for a parameter, for messages and help."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import Final

from lokki.errors import DefinitionError, ParameterError
from lokki.params.checking import check_value
from lokki.params.kinds import choices_of
from lokki.params.parameter import Parameter
from lokki.params.words import named_values

_EXAMPLES: Final = (
    "text", "2026-02-03T10:30:00", "2026-02-03", "PT1H30M", '["a", "b"]', "[1, 2]",
    '{"key": "text"}', '{"key": 5}', "5", "0.5",
)  # fmt: skip
"""Texts of which the first that a parameter takes stands for its values."""


def example_of(parameter: Parameter) -> str:
    """What may be typed for a parameter at the terminal, the option included."""
    if parameter.is_flag:
        return parameter.option
    listed = [text for kind in choices_of(parameter.annotation) for text in named_values(kind)]
    for text in (*listed, *_EXAMPLES):
        with suppress(DefinitionError, ParameterError):
            check_value(parameter, text, True)
            return f"{parameter.option} {shlex.quote(text)}"
    return f"{parameter.option} {shlex.quote(parameter.metavar)}"
