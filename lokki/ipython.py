"""What lokki knows of the IPython that runs it, if one does; it is never imported here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any

from lokki.frames import own_lines

_PLACE = re.compile(r'File "([^"]+)", (?=line \d+)')


def shell() -> Any:
    """The running IPython shell, in a terminal or a notebook; None without one."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython() if get_ipython is not None else None


def in_notebook() -> bool:
    """Whether this program is the kernel of a notebook, which can change what it has shown."""
    return getattr(shell(), "kernel", None) is not None


def shown_lines(error: BaseException) -> list[str]:
    """An error as IPython shows it: the user's own frames, the text and the notes."""
    return with_cells(own_lines(error))


def show_as(error: BaseException, *lines: str) -> None:
    """Have IPython show these lines in place of an error's traceback."""
    error._render_traceback_ = lambda: [*lines]  # type: ignore[attr-defined]


def show_like(error: BaseException, other: BaseException | None) -> None:
    """Have IPython show an error like another one, if that has lines of its own."""
    if (lines := getattr(other, "_render_traceback_", None)) is not None:
        show_as(error, *lines())


def with_cells(lines: Iterable[str]) -> list[str]:
    """The lines of a traceback, with the cells of a notebook by their numbers, not their files."""
    current = shell()
    if current is None:
        return [*lines]

    def place(found: re.Match[str]) -> str:
        named = current.compile.format_code_name(found[1])
        return found[0] if named is None else f"{' '.join(named)}, "

    return [_PLACE.sub(place, line) for line in lines]
