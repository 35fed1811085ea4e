"""``runs``: lists runs."""

from __future__ import annotations

import click

from lokki.cli import completing
from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.listing import list_runs, tell_unknown
from lokki.cli.options import ANYWHERE, COUNT, FLOW, JSON
from lokki.cli.program import Program
from lokki.cli.types import Ago, Assignment, Choice
from lokki.model.run_filter import RunFilter
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
            ["--tag", "tags"],
            metavar="TAG",
            multiple=True,
            help="Only runs with this tag; may be repeated.",
        ),
        click.Option(
            ["--param", "params"],
            type=Assignment(),
            multiple=True,
            metavar="NAME=VALUE",
            help="Only runs with this parameter, or field of one; may be repeated.",
        ),
        click.Option(
            ["--search"],
            metavar="TEXT",
            help="Only runs with this text in their id, tags, parameters or error.",
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
    tags: tuple[str, ...],
    params: tuple[str, ...],
    search: str | None,
    before: str | None,
    count: int,
    as_json: bool,
    on: str | None,
) -> None:
    """List runs, the newest first."""
    with opened(on) as backend:
        if flow is not None and tell_unknown(backend, flow) and not as_json:
            return
        wanted = RunFilter(
            flow=flow or program.flow,
            statuses=status,
            since=since,
            tags=tags,
            params=params,
            search=search,
            before=before,
            limit=count,
        )
        list_runs(backend, wanted, as_json)
