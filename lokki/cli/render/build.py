"""The output of `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from lokki.cli.render.tables import plain_table, unwrapped

if TYPE_CHECKING:
    from lokki.builder.builder import Build
    from lokki.graph import FlowGraph

_HEAVIEST = 5


def show_build(built: Build, graph: FlowGraph[Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{graph.name}: {graph.shape}", markup=False)
    states = "a durable function" if built.machine is None else f"{built.states} states"
    console.print(f"{states}, {built.resources} resources in {built.template}")
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
    table = plain_table()
    for name in ("who", "may", "with"):
        table.add_column(name, overflow="fold")
    for who, statement in built.may:
        resources = "\n".join(_resource(each) for each in statement.resource)
        table.add_row(who, "\n".join(statement.action), resources)
    console.print(table if console.is_terminal else unwrapped(table))
    for note in built.notes:
        console.print(f"Note: {note}", markup=False)


def _resource(value: Any) -> str:
    """A resource of a statement, short enough for a line."""
    if isinstance(value, str):
        return value
    (kind, argument), *_ = value.items()
    if kind == "Fn::GetAtt":
        return str(argument[0])
    return str(argument).replace("arn:${AWS::Partition}:", "")
