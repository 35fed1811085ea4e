"""Options, and what a run waits for, in words."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lokki.model.run import Needs
    from lokki.wording import Arguments

_OPTIONS: Final = {"from_stage": "--from"}


def as_options(arguments: Arguments) -> str:
    """Arguments of Python as options of the command line: ``--force --from clean``."""
    from lokki.params.words import typed

    named = {
        _OPTIONS.get(name, f"--{name.replace('_', '-')}"): value
        for name, value in arguments.given.items()
    }
    return " ".join(
        option if value is True or value is ... else f"{option} {shlex.quote(typed(value))}"
        for option, value in named.items()
    )


def waits_for(needs: Needs | None) -> str:
    """Which server a waiting run waits for."""
    if needs is None:
        return ""
    offers = f" that offers {needs.source}" if needs.source else ""
    folder = f", started in {needs.folder}" if needs.folder else ""
    python = f", with the Python in {needs.prefix}" if needs.prefix else ""
    return f"for a server{offers}{folder}{python}"
