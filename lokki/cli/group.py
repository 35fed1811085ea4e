"""The commands of a program, as a group."""

from __future__ import annotations

from typing import Any

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from lokki.cli.command import Command
from lokki.cli.commands import TABLE, load
from lokki.cli.program import Program
from lokki.decorators import Flow

_MEANT = {
    "start": "run", "retry": "resume", "again": "rerun", "stop": "cancel", "kill": "cancel",
    "list": "runs", "ls": "runs", "history": "runs", "status": "show",
    "rm": "gc", "delete": "gc", "clean": "gc",
}  # fmt: skip
"""Names of our commands in other programs."""
_NEVER_GUESSED = ("destroy",)
"""Commands too dangerous to be suggested for another word."""
_NOT_LOADED = click.Command(None)


class Group(Command, click.Group):
    """The commands of a flow's program or, with None, of `lokki`, each imported when called.

    Without a command, or for an unknown one, prints its usage and exits with 1.
    """

    def __init__(self, flow: Flow[..., Any] | None, program: Program, **settings: Any) -> None:
        names = (each.name for each in TABLE if flow is None or not each.lokki_only)
        super().__init__(commands=dict.fromkeys(names, _NOT_LOADED), **settings)
        self._flow = flow
        self._program = program

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = cmd_name in self.commands
        return load(cmd_name, self._flow, self._program) if known else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except NoArgsIsHelpError as error:
            vars(error)["exit_code"] = 1
            raise

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
