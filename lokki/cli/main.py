"""The programs: ``main_of(flow)``, ``python flow.py …``, and ``entry_point``, ``lokki …``."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
from typing import Any, NoReturn

import click

from lokki.cli import completing
from lokki.cli.command import call
from lokki.cli.exits import exits_reported
from lokki.cli.group import Group
from lokki.cli.program import Program
from lokki.cli.render.words import as_options
from lokki.decorators import Flow
from lokki.engine.importing import check_may_run
from lokki.errors import ConfigError, DefinitionError, LokkiError, ParameterError
from lokki.loading import LoadError, NotThere, alias_main
from lokki.tracing import here, place_of

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing after which nothing more can be written."""


def main_of(flow: Flow[..., Any]) -> NoReturn:
    """What `lokki.main` does."""
    check_may_run()
    if not isinstance(flow, Flow):
        given = getattr(flow, "__name__", None)
        what = f"'{given}'" if isinstance(given, str) else f"a {type(flow).__name__}"
        why = f"main() takes a flow, a function with @flow above it, not {what}"
        click.echo(f"Error: {place_of(*here())}: {why}", err=True)
        sys.exit(2)
    alias_main()
    program = Program(f"python {shlex.quote(sys.argv[0])}", flow.name)
    about = flow.__doc__ or f"Run the flow {flow.name}."
    _start(Group(flow, program, help=about, example="run"), program)


def entry_point() -> NoReturn:
    """The console script ``lokki``."""
    program = Program("lokki")
    about = "Run flows: map a function over ten thousand things, durably."
    group = Group(None, program, name="lokki", help=about, example="run birds.py")
    _start(
        click.version_option(package_name="lokki-engine", message="lokki %(version)s")(group),
        program,
    )


def _start(group: click.Group, program: Program) -> NoReturn:
    """Run a command; print lokki's errors, and a full disk, without a traceback."""
    if completing.VARIABLE in os.environ:
        from lokki.cli.shells import complete

        complete(group, program, os.environ[completing.VARIABLE])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    code = 0
    try:
        with exits_reported(lambda message: click.echo(f"Error: {message}", err=True)):
            code = _exit_code(group, program)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        seen_enough = isinstance(error, BrokenPipeError)
        if not seen_enough and error.errno not in _FULL:
            raise
        if not seen_enough and not code:
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _drop_unwritten()
    sys.exit(code)


def _drop_unwritten() -> None:
    """Output that stderr does not take is lost but no failure; Python 3.14 would exit with 120."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _exit_code(group: click.Group, program: Program) -> int:
    try:
        call(group, program.name, sys.argv[1:], program)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt, EOFError):
        return 130
    except LoadError as error:
        click.echo(f"{error.traceback}Error: {error}", err=True)
        return 2 if isinstance(error, NotThere) else 1
    except LokkiError as error:
        click.echo(f"Error: {error.said(as_options)}", err=True)
        return 2 if isinstance(error, DefinitionError | ParameterError | ConfigError) else 1
    return 0
