"""``runs``: lists runs."""

from __future__ import annotations

import click

from lokki.cli import completing
from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.listing import list_runs, tell_unknown
from lokki.cli.options import ANYWHERE, COUNT, FLOW, JSON
from lokki.cli.program import Program
from lokki.cli.types import Ago, Choice
from lokki.model.status import RunStatus


@click.command(
    "runs",
    cls=Command,
    example="--status failed --since 7d",
    params=[
        FLOW,
        click.Option(
            ["--status"],
            type=Choice([str(each) for each in RunStatus]),
            multiple=True,
            help="Only runs of this status; may be repeated.",
        ),
        click.Option(
            ["--since"], type=Ago(), help="Only runs created since then: 7d (ago) or 2026-02-03."
        ),
        click.Option(
            ["--before"],
            metavar="RUN",
            help="Only runs older than this one: the next page.",
            shell_complete=completing.runs,
        ),
        COUNT,
        JSON,
        ANYWHERE,
    ],
)
@click.pass_obj
def command(
    program: Program,
    /,
    flow: str | None,
    status: tuple[str, ...],
    since: float | None,
    before: str | None,
    count: int,
    as_json: bool,
    on: str | None,
) -> None:
    """List runs, the newest first."""
    with opened(on) as backend:
        if flow is not None:
            tell_unknown(backend, flow)
        list_runs(backend, flow or program.flow, status, since, before, count, as_json)
