"""Saves what a run's steps have shown, as files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import click

from lokki.backends.attached import attachments
from lokki.backends.backend import Backend
from lokki.model.attachment import TABLE


def save(backend: Backend, run_id: str, folder: Path, item: int | None = None) -> None:
    """Write what a run's steps have shown to files of a folder, and print their paths.

    Tables are written as CSV. Raises ClickException if there is nothing, or a file cannot be
    written.
    """
    found = list(attachments(backend, run_id, item))
    if not found:
        of = "" if item is None else f"item {item} of "
        raise click.ClickException(
            f"{of}run {run_id} has shown nothing: steps show values with lokki.show()"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in found:
            _, content = backend.attachment(run_id, each.name)
            path = folder / each.file
            path.write_bytes(_as_csv(content) if each.type == TABLE else content)
            click.echo(path)
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be written: {error}") from error


def _as_csv(content: bytes) -> bytes:
    table = json.loads(content)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table["columns"])
    writer.writerows(table["rows"])
    return text.getvalue().encode(errors="replace")
