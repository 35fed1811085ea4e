"""``invoke``: runs a flow on AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lokki.cli.command import Command
from lokki.cli.graphs import asked_graph
from lokki.cli.invoking import invoked
from lokki.cli.options import NO_CACHE, TAG, config_from, settings
from lokki.cli.parameters import options_of
from lokki.cli.program import Program
from lokki.cli.target import on_target
from lokki.decorators import Flow

_HELP = """Run a deployed flow on AWS and print its result.

The same as `run --on aws`. Ctrl-C cancels the run.
"""


def invoke_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def invoke(params: Path | None, run_id: str | None, **options: Any) -> None:
        wait, tags = options.pop("to_the_end", True), options.pop("run_tags", ())
        no_cache = options.pop("uses_no_cache", False)
        config = config_from(options)
        graph = asked_graph(flow, params, options, here=False)
        code = invoked(graph, config, program, run_id, tags, no_cache=no_cache, wait=wait)
        raise click.exceptions.Exit(code)

    name = click.Option(["--run-id"], metavar="NAME", help="Id of the run.  [default: a new one]")
    wait = click.Option(
        ["--wait/--no-wait", "to_the_end"],
        default=True,
        help="Wait for the result, or print the run's id.",
    )
    no_cache = click.Option(["--no-cache", "uses_no_cache"], is_flag=True, help=NO_CACHE.help)
    asked = options_of(flow)
    taken = {word for each in asked for word in each.opts}  # as --region, by a flow's parameter
    taken |= {f"--no-{word[2:]}" for word in taken}  # that of a flag
    own = [
        each
        for each in (name, wait, no_cache, TAG, *settings("aws", "logging"))
        if taken.isdisjoint(each.opts)
    ]
    parameters = [*asked, *own]
    return Command("invoke", params=parameters, callback=invoke, help=_HELP)


command = on_target("invoke", "birds.py --limit 5", _HELP, invoke_command)
