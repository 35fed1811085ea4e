"""``show``: shows one run."""

from __future__ import annotations

from pathlib import Path

import click

from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.listing import list_runs, print_json
from lokki.cli.options import ANYWHERE, COUNT, JSON, run_named, run_parameters
from lokki.cli.program import Program
from lokki.cli.types import Number
from lokki.model.run_filter import RunFilter


@click.command(
    "show",
    cls=Command,
    example="last --watch",
    params=[
        *run_parameters(required=False),
        COUNT,
        click.Option(["--watch"], is_flag=True, help="Redraw the run until it ends."),
        click.Option(
            ["--item"],
            type=Number(0),
            metavar="INT",
            help="Only this item: its input, output, failed attempts and lines.",
        ),
        click.Option(
            ["--stage"], metavar="NAME", help="Whose item.  [default: the last map that has begun]"
        ),
        click.Option(
            ["--save"],
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Write what its steps have shown to files: pictures, tables, texts, pages.",
        ),
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
    item: int | None,
    stage: str | None,
    save: Path | None,
    as_json: bool,
    on: str | None,
) -> None:
    """Show a run's stages, items and failures.

    Without RUN, lists the newest runs; with --watch, draws the last one. With --item, shows one
    item of the last run, or of RUN.
    """
    if watch and as_json:
        raise click.UsageError("--watch draws for people: leave --json out")
    if watch and item is not None:
        raise click.UsageError("--watch draws a run: leave --item out")
    if stage is not None and item is None:
        raise click.UsageError("--stage says whose item: give --item, too")
    if save is not None and (watch or as_json):
        raise click.UsageError("--save writes files: leave --watch and --json out")
    with opened(on, waits=watch) as backend:
        if run is run_option is None and not watch and item is None and save is None:
            list_runs(backend, RunFilter(flow=program.flow, limit=count), as_json)
            return
        found = backend.find(run_named(run, run_option, "last"), program.flow)
        run_id = found.id
        if save is not None:
            from lokki.cli import saving

            saving.save(backend, run_id, save, item)
            return
        if item is not None:
            from lokki.cli.items import tell_item

            tell_item(backend, backend.run(run_id), stage, item, as_json)
            return
        if as_json:
            print_json(backend.run(run_id))
            return
        from lokki.cli.render.run import show_run, watch_run

        (watch_run if watch else show_run)(backend, run_id, program.at(on or found.where))
