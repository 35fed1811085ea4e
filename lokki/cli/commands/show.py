"""``show``: shows one run."""

from __future__ import annotations

import click

from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.listing import list_runs, print_json
from lokki.cli.options import ANYWHERE, COUNT, JSON, run_named, run_parameters
from lokki.cli.program import Program


@click.command(
    "show",
    cls=Command,
    example="last --watch",
    params=[
        *run_parameters(required=False),
        COUNT,
        click.Option(["--watch"], is_flag=True, help="Redraw the run until it ends."),
        JSON,
        ANYWHERE,
    ],
)
@click.pass_obj
def command(
    program: Program,
    /,
    run: str | None,
    run_option: str | None,
    count: int,
    watch: bool,
    as_json: bool,
    on: str | None,
) -> None:
    """Show a run's stages, items and failures.

    Without RUN, lists the newest runs; with --watch, draws the last one.
    """
    if watch and as_json:
        raise click.UsageError("--watch draws for people: leave --json out")
    with opened(on, waits=watch) as backend:
        if run is run_option is None and not watch:
            list_runs(backend, program.flow, (), None, None, count, as_json)
            return
        found = backend.find(run_named(run, run_option, "last"), program.flow)
        run_id = found.id
        if as_json:
            print_json(backend.run(run_id))
            return
        from lokki.cli.render.run import show_run, watch_run

        (watch_run if watch else show_run)(backend, run_id, program.at(on or found.where))
