"""``serve``: starts the service, if its packages are installed."""

from __future__ import annotations

from typing import Any

import click

from lokki.cli.command import Command
from lokki.cli.configuration import configured
from lokki.cli.first import leave_first_process
from lokki.cli.options import SOURCES


@click.command(
    "serve",
    cls=Command,
    example="birds.py",
    params=[
        SOURCES,
        click.Option(["--host"], metavar="ADDRESS", help="Listen here.  [default: 127.0.0.1]"),
        click.Option(
            ["--port"], type=click.IntRange(0, 65_535), metavar="INT", help="[default: 8765]"
        ),
        click.Option(
            ["--runners"],
            type=click.IntRange(1, 64),
            metavar="INT",
            help="Processes that run flows.  [default: 1]",
        ),
        click.Option(
            ["--grace"],
            type=click.IntRange(0),
            metavar="SECONDS",
            help="Seconds that runs have to finish when the server stops.  [default: 30]",
        ),
    ],
)
def command(sources: tuple[str, ...], **settings: Any) -> None:
    """Serve flows over HTTP, with a dashboard.

    Offers the flows of the named files, modules and folders; without any, those of this folder's
    files. Runs them in its own processes, and records them in the journal.
    """
    leave_first_process()
    config = configured({f"server.{name}": value for name, value in settings.items()})
    try:
        from lokki_server import server
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"lokki serve needs the package '{error.name}': uv add 'lokki-engine[server]', or "
            "pip install 'lokki-engine[server]'"
        ) from error
    named = [each.strip() for each in config.server.flows.split(",") if each.strip()]
    server.serve(config, sources or named)
