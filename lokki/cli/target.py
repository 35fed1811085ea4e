"""Commands that begin with the flow they are about, and whose options are known once it is."""

from __future__ import annotations

from typing import Any

import click

from lokki.cli import completing
from lokki.cli.cloud import MakeCommand
from lokki.cli.options import HELP, Command
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.loading import load_flow

_TARGET: dict[str, Any] = {
    "add_help_option": False,
    "options_metavar": "",
    "context_settings": {"ignore_unknown_options": True, "allow_interspersed_args": False},
}
"""A command whose options are known once its flow is."""


def target_argument(
    metavar: str = "FILE[:flow]|MODULE[:flow]", *, required: bool = True
) -> click.Argument:
    """A flow, by its file or module."""
    return click.Argument(
        ["target"], metavar=metavar, required=required, shell_complete=completing.targets
    )


def call(command: click.Command, name: str, arguments: list[str], program: Program) -> None:
    """As click's own main, which however takes a closed pipe for a failure."""
    with command.make_context(name, arguments, obj=program) as context:
        command.invoke(context)


class _OnTarget(Command):
    """A command for which ``make`` makes the flow's own; shells complete that one's options."""

    def __init__(self, name: str, make: MakeCommand, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._make = make

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> click.Context:
        completed = extra.get("resilient_parsing") and args
        flow = completing.flow_in_text(args[0]) if completed else None
        if flow is None:
            return super().make_context(info_name, args, parent, **extra)
        own = self._make(flow, parent.obj)
        return own.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


def on_target(name: str, example: str, told: str, make: MakeCommand) -> click.Command:
    """``lokki NAME FILE[:flow] [OPTIONS]``, for which ``make`` makes the flow's own command."""

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

    options = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
    return _OnTarget(
        name,
        make,
        params=[target_argument(), options],
        callback=command,
        example=example,
        help=told,
        **_TARGET,
    )
