"""``config``: the settings, and where they come from."""

from __future__ import annotations

from typing import Any

import click

from lokki.cli.command import Command
from lokki.cli.configuration import configured
from lokki.cli.listing import print_json
from lokki.cli.options import JSON
from lokki.postgres_url import PostgresUrl, is_postgres
from lokki.secret import HIDDEN


@click.command("config", cls=Command, example="--json", params=[JSON])
def command(as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    Values that may be secret are not shown: those in [lambda.env] and [batch.env], the URLs in
    [notify], and a password in the URL of the journal.
    """
    from lokki.config import DEFAULT, KEYS

    here = configured()
    rows: dict[str, Any] = {}
    for name, value in here.values().items():
        origin: Any = here.origins[name]
        if KEYS[name].is_table:
            origin = {entry: here.origins[f"{name}.{entry}"] for entry in value}
            value = dict.fromkeys(value, HIDDEN)
        elif KEYS[name].secret and origin != DEFAULT:
            value = HIDDEN
        elif is_postgres(value):
            value = str(PostgresUrl(value))
        rows[name] = {"value": value, "from": origin}
    if as_json:
        print_json(rows)
        return
    from lokki.cli.render.settings import show_config

    show_config(rows)
