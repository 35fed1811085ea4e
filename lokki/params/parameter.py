"""One parameter of a flow."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, get_origin

from lokki.params.kinds import choices_of
from lokki.params.words import label_of, metavar_of, typed
from lokki.secret import Secret

MISSING: Final[Any] = dataclasses.MISSING
"""The default of a parameter without one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a flow.

    ``annotation`` is Any if there is none, includes None if the default is None, and stays a string
    if its names cannot be resolved. ``default`` is MISSING if a value is required.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def is_flag(self) -> bool:
        """True for ``bool`` and ``bool | None``."""
        return choices_of(self.annotation) == [bool]

    @property
    def is_secret(self) -> bool:
        """True for ``Secret[…]`` and ``Secret[…] | None``: never shown, and no option."""
        return any((get_origin(kind) or kind) is Secret for kind in choices_of(self.annotation))

    @property
    def option(self) -> str:
        """The option's name at the terminal: ``--min-size`` for ``min_size``."""
        return "--" + self.name.replace("_", "-")

    @property
    def type_label(self) -> str:
        """The type in words for a terminal, without None: ``int``, ``red|blue``, ``JSON list``."""
        return " or ".join(dict.fromkeys(map(label_of, choices_of(self.annotation))))

    @property
    def metavar(self) -> str:
        """The placeholder for a value in the help: ``INT``, ``YYYY-MM-DD``, ``red|blue``."""
        return "|".join(dict.fromkeys(map(metavar_of, choices_of(self.annotation))))

    @property
    def default_text(self) -> str:
        """The default as typed at the terminal; empty if there is none."""
        if self.required or self.default is None:
            return ""
        if self.is_flag:
            return self.option if self.default else f"--no-{self.option[2:]}"
        import shlex

        return shlex.quote(typed(self.default))
