"""``run``: runs a flow here, on a server or on AWS."""

from __future__ import annotations

from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click

from lokki.cli.command import Command
from lokki.cli.graphs import asked_graph
from lokki.cli.invoking import invoked
from lokki.cli.options import NO_CACHE, SETTINGS, config_from
from lokki.cli.parameters import options_of, secrets_help, tag_option
from lokki.cli.program import Program
from lokki.cli.render.words import as_options
from lokki.cli.running import run_here, run_there
from lokki.cli.target import on_target
from lokki.decorators import Flow
from lokki.model.run import AWS, LOCAL
from lokki.params.examples import example_of
from lokki.wording import Arguments

_HELP = """Run a flow and print its result.

Here, or on a server (--on URL). Each parameter of the flow is an option: lokki run FILE --help \
shows the flow and lists them.
"""


def run_command(flow: Flow[..., Any], program: Program) -> click.Command:
    """``run``, with the flow's parameters as options."""

    def run(params: Path | None, **options: Any) -> None:
        on, no_cache = options.pop("on"), options.pop("no_cache")
        tags = options.pop("run_tags", ())
        config = config_from(options)
        graph = asked_graph(flow, params, options, here=on == LOCAL)
        if on == LOCAL:
            code = run_here(graph, config, program, no_cache=no_cache, tags=tags)
        elif on == AWS:
            code = invoked(graph, config, program, None, tags, no_cache=no_cache, wait=True)
        else:
            from lokki.backends.server import ServerBackend
            from lokki.cli.render.report import outlines

            backend, given = ServerBackend(on), flow.parameters.given(graph.params)
            start = partial(backend.start, flow.name, given, no_cache=no_cache, tags=tags)
            code = run_there(backend, start, outlines(graph), config, program.at(on))
        raise click.exceptions.Exit(code)

    about = [f"Run {flow.name} and print its result.", cleandoc(flow.__doc__ or "")]
    needed = [each for each in flow.parameters if each.required and not each.is_secret]
    return Command(
        "run",
        params=[*options_of(flow, [NO_CACHE, *tag_option(flow.parameters)]), *SETTINGS],
        callback=run,
        help="\n\n".join([*about, *secrets_help(flow)]),
        example=lambda: as_options(Arguments(**{each.name: example_of(each) for each in needed})),
    )


command = on_target("run", "birds.py --limit 5", _HELP, run_command)
