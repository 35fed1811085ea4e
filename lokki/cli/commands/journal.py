"""``journal``: copies a journal."""

from __future__ import annotations

import click

from lokki.cli.command import Command
from lokki.cli.configuration import configured


@click.command(
    "journal",
    cls=Command,
    example="copy ~/.lokki/lokki.db postgresql://user@host/runs",
    params=[
        click.Argument(["action"], type=click.Choice(["copy"])),
        click.Argument(["source"], metavar="FROM"),
        click.Argument(["target"], metavar="TO"),
    ],
)
def command(action: str, source: str, target: str) -> None:
    """Copy a journal to another file or PostgreSQL database.

    There must be no runs yet, and no process may be working on a run of the journal. Results over
    64 KiB stay where they are.
    """
    from lokki.config import journal_place, payloads_path
    from lokki.logging import counted
    from lokki.store.copying import copy

    before, after = journal_place(source, "FROM"), journal_place(target, "TO")
    runs = copy(before, after)
    click.echo(f"{counted(runs, 'run')} copied to {after}")
    config = configured()
    large = payloads_path(before, config)
    if config.local.payloads is None and large.exists() and large != payloads_path(after, config):
        click.echo(
            f"large results stay in {large}: set local.payloads, or LOKKI_LOCAL_PAYLOADS, to it",
            err=True,
        )
