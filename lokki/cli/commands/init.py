"""``init``: makes a project."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from lokki.cli.command import Command

_FOLDER = click.Argument(
    ["folder"], default=".", type=click.Path(file_okay=False), metavar="[FOLDER]"
)


@click.command("init", cls=Command, params=[_FOLDER], example="birds")
def command(folder: str) -> None:
    """Make a project with a flow and its tests.

    The folder is made if it does not exist, and nothing in it is overwritten.
    """
    from lokki.cli.starter import files_of

    place = Path(folder)
    files = {place / path: text for path, text in files_of(place.resolve().name).items()}
    there = [str(path) for path in files if path.exists()]
    if there:
        raise click.ClickException(
            f"{', '.join(there)}: already there, so nothing was written; name a new folder, as in "
            "`lokki init birds`"
        )
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise click.ClickException(f"{path} cannot be made: {error.strerror}") from None
        click.echo(f"made {path}", err=True)
    module = next(path.name for path in files if path.suffix == ".py")
    inside = "" if os.path.samefile(place, ".") else f"cd {shlex.quote(folder)} && "
    click.echo(f"next: {inside}uv sync && uv run lokki run {module}", err=True)
