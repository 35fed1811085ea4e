"""Durations, rates, options and what a run waits for, in words."""

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


def duration(seconds: float) -> str:
    """How long something took; under a minute, a whole number stays whole."""
    if seconds < 60:
        if isinstance(seconds, int):
            return f"{seconds}s"
        return f"{seconds:.1f}s" if seconds >= 0.1 else f"{1000 * seconds:.0f}ms"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def mean(seconds: float) -> str:
    """How long each of many took; two digits for short times."""
    return duration(seconds) if seconds >= 0.1 else f"{1000 * seconds:.2g}ms"


def rate(per_second: float) -> str:
    """How many per second, or per minute if few; empty for none."""
    if not per_second:
        return ""
    if per_second < 0.1:
        return f"{60 * per_second:.1f}/min"
    return f"{per_second:.1f}/s" if per_second < 10 else f"{per_second:,.0f}/s"


def waits_for(needs: Needs | None) -> str:
    """Which server a waiting run waits for."""
    if needs is None:
        return ""
    offers = f" that offers {needs.source}" if needs.source else ""
    folder = f", started in {needs.folder}" if needs.folder else ""
    python = f", with the Python in {needs.prefix}" if needs.prefix else ""
    return f"for a server{offers}{folder}{python}"
