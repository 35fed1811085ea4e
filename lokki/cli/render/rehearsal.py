"""The output of `rehearse`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from lokki.cli.render.tables import plain_table
from lokki.logging import human, said, step_line
from lokki.runtime.deaths import as_here

if TYPE_CHECKING:
    from lokki.rehearse.outcome import Rehearsed

_HEAVIEST = 5
_MOST_LINES = 10
_PLATFORM = ("START", "END", "REPORT")
"""How the lines begin that Lambda adds."""


def teller(console: Console, update: Callable[[str], None]) -> Callable[[str], None]:
    """Shows the current action: on a terminal in one line, otherwise in a line each."""
    if console.is_terminal:
        return update
    seen: set[str] = set()

    def tell(doing: str) -> None:
        what = doing.partition(" Map")[0]
        if what not in seen:
            seen.add(what)
            console.print(what)

    return tell


def show_states(done: Rehearsed, console: Console) -> None:
    table = plain_table()
    table.add_column("state")
    table.add_column("kind")
    for name in ("seconds", "failed attempts"):
        table.add_column(name, justify="right")
    table.add_column("items")
    for row in done.states:
        seconds = "" if row.seconds is None else f"{row.seconds:.2f}"
        items = ", ".join(f"{count} {name}" for name, count in row.items.items())
        table.add_row(row.name, row.kind, seconds, str(row.retries or ""), items)
    console.print(table)


def show_lines(done: Rehearsed, console: Console, *, every: bool) -> None:
    """What functions and jobs logged: their last lines, or all, including Lambda's."""
    lines = done.lines
    if not every:
        own = [line for line in lines if line.partition(" ")[0] not in _PLATFORM]
        lines = tuple(own[-_MOST_LINES:])
        if len(own) > len(lines):
            console.print(f"… {len(own) - len(lines)} lines before these: --logs")
    console.print("\n".join(map(_as_said, lines)), markup=False)


def _as_said(text: str) -> str:
    """A line that a step printed or logged, as `logs` shows it; any other unchanged."""
    recorded = said(text)
    return text if recorded is None else human(step_line(*recorded[1]))


def show_failures(done: Rehearsed, console: Console) -> None:
    for failure in done.failures[:_HEAVIEST]:
        item = "" if failure.index is None else f", item {failure.index}"
        where = f"step '{failure.step}'{item}, attempt {failure.attempt}"
        console.print(failure.traceback, markup=False, end="")
        console.print(f"{where}: {failure.type}: {failure.reason}", markup=False)
    kind, text = as_here(str(done.error), str(done.cause))
    console.print(f"Error: the execution has {done.status.lower()}: {kind}: {text}", markup=False)
