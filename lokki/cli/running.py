"""Running a flow: the command `run`, and starting a run here or on a server."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.graphs import asked_graph
from lokki.cli.invoking import invoked
from lokki.cli.options import (
    SETTINGS,
    Command,
    config_from,
    options_of,
    told_secrets,
)
from lokki.cli.program import Program
from lokki.config import Config
from lokki.decorators import Flow
from lokki.params.examples import example_of
from lokki.places import AWS, LOCAL

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lokki.cli.execute import Handle
    from lokki.cli.report import LineReport, Outline
    from lokki.graph import FlowGraph
    from lokki.places.server import ServerPlace
    from lokki.places.shapes import RunShape


def run_command(flow: Flow[..., Any], program: Program) -> click.Command:
    """``run``, with the flow's parameters as options."""

    def run(params: Path | None, **options: Any) -> None:
        on, config = options.pop("on"), config_from(options)
        graph = asked_graph(flow, params, options, here=on == LOCAL)
        if on == LOCAL:
            code = run_here(graph, config, program)
        elif on == AWS:
            code = invoked(graph, config, program, None, wait=True)
        else:
            from lokki.cli.report import outlines
            from lokki.places.server import ServerPlace

            place, given = ServerPlace(on), flow.parameters.given(graph.params)
            start = partial(place.start, flow.name, given)
            code = run_there(place, start, outlines(graph), config, program.at(on))
        raise click.exceptions.Exit(code)

    told = [f"Run {flow.name} and print its result.", cleandoc(flow.__doc__ or "")]
    needed = [each for each in flow.parameters if each.required and not each.is_secret]
    return Command(
        "run",
        params=[*options_of(flow), *SETTINGS],
        callback=run,
        help="\n\n".join([*told, *told_secrets(flow)]),
        example=lambda: " ".join(example_of(each) for each in needed),
    )


def run_here(graph: FlowGraph[Any], config: Config, program: Program) -> int:
    """Run a flow on this machine and print its result; the exit code."""
    from lokki.cli.execute import Start, execute, in_engine
    from lokki.cli.report import outlines

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        started_by = command_line(program)
        return in_engine(
            lambda engine: engine.submit(graph, started_by=started_by), graph, config, report
        )

    return execute(Start(begin, outlines(graph), program), config)


def run_there(
    place: ServerPlace,
    start: Callable[[], RunShape],
    stages: Sequence[Outline],
    config: Config,
    program: Program,
) -> int:
    """Follow a run that ``start`` has a server start, and print its result; the exit code."""
    from lokki.cli.execute import Start, execute
    from lokki.cli.follow import followed

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        return followed(place, start, None, report, place.result)

    return execute(Start(begin, stages, program), config)


def command_line(program: Program) -> str:
    """How the program was called."""
    return f"{program.name} {shlex.join(sys.argv[1:])}"
