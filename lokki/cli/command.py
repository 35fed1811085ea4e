"""A command and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from lokki.cli.program import Program
from lokki.decorators import Flow

HELP: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "token_normalize_func": lambda name: name.replace("_", "-"),  # --min_size is --min-size
}


class Command(click.Command):
    """A command whose help ends with an example, after the program's own name.

    ``example`` may be a function, for an example that takes time to make.
    """

    def __init__(self, *settings: Any, example: str | Callable[[], str] = "", **more: Any) -> None:
        super().__init__(*settings, **{"context_settings": HELP, **more})
        self._example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if any(each.name == "run" and isinstance(each, click.Argument) for each in self.params):
            newest = f"the newest of {ctx.obj.flow or 'any flow'}"
            formatter.write_paragraph()
            formatter.write_text(f"RUN is a run's id, the beginning of it, or 'last', {newest}.")
        formatter.write_paragraph()
        example = self._example if isinstance(self._example, str) else self._example()
        formatter.write(f"Example: {ctx.command_path} {example}".rstrip() + "\n")


MakeCommand: TypeAlias = Callable[[Flow[..., Any], Program], click.Command]
"""Makes the command for a flow's own program."""


def call(command: click.Command, name: str, arguments: list[str], program: Program) -> None:
    """Like click's own main, but a closed pipe is no failure."""
    with command.make_context(name, arguments, obj=program) as context:
        command.invoke(context)
