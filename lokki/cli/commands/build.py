"""``build``: the files of a flow on AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lokki.cli.command import Command
from lokki.cli.configuration import configured
from lokki.cli.graphs import asked_graph
from lokki.cli.parameters import options_of
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.cli.target import on_target
from lokki.decorators import Flow

_HELP = "Write the package and the template for AWS."


def build_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def build(params: Path | None, **options: Any) -> None:
        from lokki.builder.builder import build as build_flow
        from lokki.cli.render.build import show_build

        graph = asked_graph(flow, params, options, here=False, whole=False)
        with stdout_to_stderr():
            built = build_flow(graph, configured())
        show_build(built, graph)

    parameters = options_of(flow, whole=False)
    return Command("build", params=parameters, callback=build, help=_HELP, example="")


command = on_target("build", "birds.py", _HELP, build_command)
