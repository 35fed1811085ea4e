"""The scripts with which bash, zsh and fish complete ``lokki``, and the answers to them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, ClassVar, NoReturn

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    split_arg_string,
)

from lokki.cli.completing import VARIABLE

if TYPE_CHECKING:
    import click

    from lokki.cli.program import Program

_BASH = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        if [[ $type == file ]]; then
            compopt -o default
        else
            COMPREPLY+=("$value")
        fi
    done < <(_LOKKI_LINE="${COMP_LINE:0:$COMP_POINT}" %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """bash; the line is used, not its words, which end at each ``:``, even in URLs."""

    source_template: ClassVar[str] = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["_LOKKI_LINE"]
        words = split_arg_string(line)[1:]
        if not words or line[-1].isspace():
            return words, ""
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem[str]) -> str:
        incomplete = self.get_completion_args()[1]
        before = incomplete[: incomplete.rfind(":") + 1]
        return f"{item.type},{item.value.removeprefix(before)}"


class _Fish(FishComplete):
    """fish, in our order and with the whole help text, which click cuts at the first comma."""

    source_template: ClassVar[str] = FishComplete.source_template.replace(
        'string split ","', 'string split --max 1 ","'
    ).replace("complete --no-files", "complete --keep-order --no-files")


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": _Fish}


def script(group: click.Command, shell: str) -> str:
    """The script for a shell."""
    return _SHELLS[shell](group, {}, "lokki", VARIABLE).source()


def complete(group: click.Command, program: Program, instruction: str) -> NoReturn:
    """Answer a shell's script, which asks with ``bash_complete``, say, and end.

    Nothing else is printed: it would appear in the line being typed.
    """
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    shell = _SHELLS.get(instruction.removesuffix("_complete"))
    if shell is None:
        sys.exit(1)
    print(shell(group, {"obj": program}, program.name, VARIABLE).complete())
    sys.exit(0)
