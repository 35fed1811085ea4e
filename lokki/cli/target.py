"""Commands whose options depend on their first argument: a flow or a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lokki.cli import completing
from lokki.cli.command import HELP, Command, MakeCommand, call
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.decorators import Flow
from lokki.loading import load_flow

_TARGET: dict[str, Any] = {
    "add_help_option": False,
    "options_metavar": "",
    "context_settings": {"ignore_unknown_options": True, "allow_interspersed_args": False},
}
"""A command whose options depend on its flow."""


def target_argument(
    metavar: str = "FILE[:flow]|MODULE[:flow]", *, required: bool = True
) -> click.Argument:
    """A flow, by its file or module."""
    return click.Argument(
        ["target"], metavar=metavar, required=required, shell_complete=completing.targets
    )


class Deferred(Command):
    """A command whose options depend on its first argument.

    ``own`` returns the command that has them, for a shell to complete; None if it is unknown.
    """

    def __init__(
        self, name: str, own: Callable[[str, Program], click.Command | None], **settings: Any
    ) -> None:
        super().__init__(name, **settings)
        self._own = own

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> click.Context:
        completed = extra.get("resilient_parsing") and args
        own = self._own(args[0], parent.obj) if completed else None
        if own is None:
            return super().make_context(info_name, args, parent, **extra)
        return own.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


def on_target(
    name: str, example: str, about: str, make: MakeCommand
) -> Callable[[Flow[..., Any] | None, Program], click.Command]:
    """The command that ``make`` makes for a flow; in `lokki`, ``NAME FILE[:flow] [OPTIONS]``."""

    def made(flow: Flow[..., Any] | None, program: Program) -> click.Command:
        return _of_lokki(name, example, about, make) if flow is None else make(flow, program)

    return made


def _of_lokki(name: str, example: str, about: str, make: MakeCommand) -> click.Command:
    def command(target: str, arguments: tuple[str, ...]) -> None:
        asks_for_help = target in HELP["help_option_names"]
        if asks_for_help and not arguments:
            click.echo(click.get_current_context().get_help())
            return
        if asks_for_help:
            target, arguments = arguments[0], (target,)
        if target.startswith("-"):
            raise click.UsageError(f"the file comes first: lokki {name} FILE {target}")
        with stdout_to_stderr():
            flow = load_flow(target)
        program = Program("lokki")
        call(make(flow, program), f"lokki {name} {target}", list(arguments), program)

    def own(target: str, program: Program) -> click.Command | None:
        flow = completing.flow_in_text(target)
        return None if flow is None else make(flow, program)

    options = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
    return Deferred(
        name,
        own,
        params=[target_argument(), options],
        callback=command,
        example=example,
        help=about,
        **_TARGET,
    )
