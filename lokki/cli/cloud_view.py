"""What the commands for AWS print."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lokki.logging import human, said, step_line

if TYPE_CHECKING:
    from lokki.aws.deploy import Doomed, Target
    from lokki.aws.stack import ChangeSet
    from lokki.builder.builder import Build
    from lokki.builder.plan import Plan
    from lokki.graph import FlowGraph
    from lokki.rehearse.rehearsal import Rehearsed

_HEAVIEST = 5
_MOST_LINES = 10
_PLATFORM = ("START", "END", "REPORT")
"""What begins the lines that Lambda adds."""


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold")


def show_build(built: Build, graph: FlowGraph[Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{graph.name}: {graph.shape}", markup=False)
    console.print(f"{built.states} states, {built.resources} resources in {built.template}")
    if built.package is not None:
        package = built.package
        heaviest = ", ".join(
            f"{part.name} {part.zipped / 1e6:.1f}" for part in package.parts[:_HEAVIEST]
        )
        console.print(
            f"{package.file}: {package.size / 1e6:.1f} MB (most of it: {heaviest}), "
            f"{package.unpacked / 1e6:.1f} MB unpacked"
        )
    if built.image is not None:
        console.print(f"{built.image / 'Dockerfile'}: one image for all functions and jobs")
    table = _table()
    for name in ("who", "may", "with"):
        table.add_column(name, overflow="fold")
    for who, statement in built.may:
        resources = "\n".join(_resource(each) for each in statement.resource)
        table.add_row(who, "\n".join(statement.action), resources)
    console.print(table)
    for note in built.notes:
        console.print(f"Note: {note}", markup=False)


def _resource(value: Any) -> str:
    """A resource of a statement, as a line has room for."""
    if isinstance(value, str):
        return value
    (kind, argument), *_ = value.items()
    if kind == "Fn::GetAtt":
        return str(argument[0])
    return str(argument).replace("arn:${AWS::Partition}:", "")


def teller(console: Console, update: Callable[[str], None]) -> Callable[[str], None]:
    """Shows what is being done: on a terminal in one line, else a line for each thing."""
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
    table = _table()
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
    """What functions and jobs have logged: theirs that came last, or all, Lambda's too."""
    lines = done.lines
    if not every:
        own = [line for line in lines if line.partition(" ")[0] not in _PLATFORM]
        lines = tuple(own[-_MOST_LINES:])
        if len(own) > len(lines):
            console.print(f"… {len(own) - len(lines)} lines before these: --logs")
    console.print("\n".join(map(_as_said, lines)), markup=False)


def _as_said(text: str) -> str:
    """A line that a step has printed or logged, as `logs` shows it; any other as it is."""
    told = said(text)
    return text if told is None else human(step_line(*told[1]))


def show_failures(done: Rehearsed, console: Console) -> None:
    for failure in done.failures[:_HEAVIEST]:
        item = "" if failure.index is None else f", item {failure.index}"
        told = f"step '{failure.step}'{item}, attempt {failure.attempt}"
        console.print(failure.traceback, markup=False, end="")
        console.print(f"{told}: {failure.type}: {failure.reason}", markup=False)
    console.print(
        f"Error: the execution has {done.status.lower()}: {done.error}: {done.cause}", markup=False
    )


# ---- deploy and destroy --------------------------------------------------------------------------


def show_changes(change_set: ChangeSet, console: Console) -> None:
    table = _table()
    for name in ("change", "resource", "type"):
        table.add_column(name, overflow="fold")
    for each in change_set.changes:
        action = f"{each.action} (made anew)" if each.replaced else each.action
        table.add_row(action, each.resource, each.kind)
    console.print(f"stack {change_set.stack}:", markup=False)
    console.print(table)


def show_doomed(what: Doomed, target: Target, console: Console, *, empty: bool) -> None:
    for kind, resource in what.resources:
        console.print(f"stack {target.stack}: {kind} {resource}", markup=False)
    fate = "deleted" if empty else "kept (--empty-bucket deletes them)"
    told = f"bucket {target.bucket}: {what.objects:,} objects of the flow, {fate}"
    console.print(told, markup=False)


# ---- plan ----------------------------------------------------------------------------------------


def show_plan(plan: Plan) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = _table()
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_column("USD", justify="right")
    for row in plan.rows:
        table.add_row(row.what, row.amount, f"{row.dollars:.4f}")
    table.add_row("together", "", f"{plan.dollars:.4f}", style="bold")
    console.print(table)
    console.print(f"Prices of {plan.prices_region} on {plan.prices_date}, no free tier.")
    for each in plan.limits:
        console.print(f"Limit: {each}", markup=False)
    for note in plan.notes:
        console.print(f"Note: {note}", markup=False)
