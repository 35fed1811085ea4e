"""The commands: ``main_of(flow)`` for ``python flow.py …`` and ``cli`` for ``lokki …``."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from lokki.cli import completing
from lokki.cli.cloud import BUILD, PLAN, REHEARSE
from lokki.cli.cloud import COMMANDS as CLOUD
from lokki.cli.commands import COMMANDS
from lokki.cli.completion import completion
from lokki.cli.deploying import DEPLOY, DESTROY
from lokki.cli.exits import exits_told
from lokki.cli.invoking import INVOKE
from lokki.cli.offered import COMMANDS as OFFERED
from lokki.cli.options import Command
from lokki.cli.program import Program
from lokki.cli.pulling import pull_command, push
from lokki.cli.rerunning import rerun_command
from lokki.cli.result import result
from lokki.cli.resuming import resume, resume_of
from lokki.cli.running import run_command
from lokki.cli.serve import serve
from lokki.cli.target import call, on_target, target_argument
from lokki.decorators import Flow
from lokki.engine.importing import check_may_run
from lokki.errors import ConfigError, DefinitionError, LokkiError, ParameterError
from lokki.loading import LoadError, NotThere, alias_main, load_flow

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing where nothing more can be written."""
_MEANT = {
    "start": "run", "retry": "resume", "again": "rerun", "stop": "cancel", "kill": "cancel",
    "list": "runs", "ls": "runs", "history": "runs", "status": "show",
    "rm": "gc", "delete": "gc", "clean": "gc",
}  # fmt: skip
"""What other programs call our commands."""
_NEVER_GUESSED = ("destroy",)
"""Commands that are too grave to be named for another word."""


def main_of(flow: Flow[..., Any]) -> NoReturn:
    """What `lokki.main` does."""
    if not isinstance(flow, Flow):
        raise DefinitionError(f"main() wants a flow, not {flow!r}: decorate a function with @flow")
    check_may_run()
    alias_main()
    program = Program(f"python {shlex.quote(sys.argv[0])}", flow.name)
    group = _Group(help=flow.__doc__ or f"Run the flow {flow.name}.", example="run")
    group.add_command(run_command(flow, program))

    group.add_command(resume_of(flow, program))
    group.add_command(rerun_command(flow, program))
    pull = pull_command(lambda: flow, [])
    _start(group, program, *(make(flow, program) for make in CLOUD.values()), pull, push)


class _Group(Command, click.Group):
    """A group that exits with 1 for no command and for an unknown one, after its usage."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except NoArgsIsHelpError as error:
            vars(error)["exit_code"] = 1
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            vars(error)["exit_code"] = 1
            if isinstance(error, NoSuchCommand) and error.command_name in _MEANT:
                near = [_MEANT[error.command_name], *(error.possibilities or ())]
                likely = dict.fromkeys(each for each in near if each not in _NEVER_GUESSED)
                vars(error)["possibilities"] = list(likely)
            raise


def entry_point() -> NoReturn:
    """The console script ``lokki``."""
    cloud = (on_target(name, *about) for name, about in _CLOUD.items())
    pull = pull_command(load_flow, [target_argument()])
    _start(_cli, Program("lokki"), *OFFERED, *cloud, pull, push, serve, completion)


def _start(group: click.Group, program: Program, *own: click.Command) -> NoReturn:
    """Run a command; our errors are told in words, without a traceback, and so is a full disk."""
    for command in (*COMMANDS, result, *own):
        group.add_command(command)
    if completing.VARIABLE in os.environ:
        from lokki.cli.shells import complete

        complete(group, program, os.environ[completing.VARIABLE])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    code = 0
    try:
        with exits_told(lambda message: click.echo(f"Error: {message}", err=True)):
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
    sys.exit(code)


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
        click.echo(f"Error: {error}", err=True)
        return 2 if isinstance(error, DefinitionError | ParameterError | ConfigError) else 1
    return 0


@click.group("lokki", cls=_Group, example="run birds.py")
@click.version_option(package_name="lokki-engine", message="lokki %(version)s")
def _cli() -> None:
    """Run flows: map a function over ten thousand things, durably."""


_CLOUD = {
    "build": ("birds.py", BUILD, CLOUD["build"]),
    "rehearse": ("birds.py --limit 5", REHEARSE, CLOUD["rehearse"]),
    "plan": ("birds.py --items 10000", PLAN, CLOUD["plan"]),
    "deploy": ("birds.py", DEPLOY, CLOUD["deploy"]),
    "invoke": ("birds.py --limit 5", INVOKE, CLOUD["invoke"]),
    "destroy": ("birds.py", DESTROY, CLOUD["destroy"]),
}
_cli.add_command(
    on_target(
        "run",
        "birds.py --limit 5",
        "Run a flow and print its result.\n\nHere, or on a server (--on URL). Each parameter of "
        "the flow is an option: lokki run FILE --help shows the flow and lists them.",
        run_command,
    )
)
_cli.add_command(resume)
_cli.add_command(rerun_command(None, Program("lokki")))
