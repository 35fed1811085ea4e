"""``result``: the result of a run, without the code that made it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lokki.cli.command import Command
from lokki.cli.options import ANYWHERE, run_named, run_parameters
from lokki.cli.program import Program

if TYPE_CHECKING:
    from lokki.backends.backend import Backend
    from lokki.model.run import Run

_STDOUT = Path("-")


@click.command(
    "result",
    cls=Command,
    params=[
        *run_parameters(required=False),
        click.Option(
            ["--pickle"],
            type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
            metavar="FILE",
            help="Save it as a pickle (-: to stdout), whatever its type.",
        ),
        ANYWHERE,
    ],
    example="last",
)
@click.pass_obj
def command(
    program: Program,
    /,
    run: str | None,
    run_option: str | None,
    pickle: Path | None,
    on: str | None,
) -> None:
    """Print a run's result as JSON.

    Without RUN, that of the newest run. None of your code is imported: a result with objects of
    your own classes is described by its type, and can be saved with --pickle.
    """
    from lokki.cli.backends import opened

    with opened(on) as backend:
        found = backend.find(run_named(run, run_option, "last"), program.flow)
        if found.status != "succeeded":
            raise click.ClickException(f"run {found.id} has no result: it is {found.status}")
        raw = backend.pickled_result(found.id)
        if pickle is None:
            save = program.at(on or found.where).command("result", found.id, "--pickle", "FILE")
            click.echo(_as_json(backend, found, raw, save))
        else:
            _save(raw, pickle)


def _as_json(backend: Backend, run: Run, raw: bytes, save: str) -> str:
    from lokki.backends.values import NotShown, whole

    try:
        return json.dumps(whole(raw), indent=2)
    except NotShown as error:
        _tell_beginning(backend, run)
        what = f"the result of run {run.id}"
        problem = f"{what} is not JSON ({error.type}, {error.bytes:,} bytes as a pickle)"
        raise click.ClickException(f"{problem}; save it: {save}") from None


def _tell_beginning(backend: Backend, run: Run) -> None:
    """Print the first rows of a DataFrame on stderr, if they are recorded."""
    last = backend.run(run.id).stages[-1]
    item = backend.item(run.id, last.position, 0) if last.kind == "task" else None
    preview = (item.output or {}).get("preview") if item is not None else None
    if preview is not None:
        from lokki.cli.render.item import show_table

        show_table(preview, stderr=True)


def _save(raw: bytes, file: Path) -> None:
    if file == _STDOUT:
        sys.stdout.buffer.write(raw)
        return
    try:
        file.write_bytes(raw)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
