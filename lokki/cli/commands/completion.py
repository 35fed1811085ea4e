"""``completion``: a shell's script to complete ``lokki``."""

from __future__ import annotations

import click

from lokki.cli.command import Command

_HELP = """Print a shell script that completes lokki's commands.

\b
bash, in ~/.bashrc:
    eval "$(lokki completion bash)"
zsh, in ~/.zshrc, after compinit:
    eval "$(lokki completion zsh)"
fish, in ~/.config/fish/config.fish:
    lokki completion fish | source
"""


@click.command(
    "completion",
    cls=Command,
    params=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
    help=_HELP,
    example="bash",
)
def command(shell: str) -> None:
    from lokki.cli.shells import script

    click.echo(script(click.get_current_context().find_root().command, shell))
