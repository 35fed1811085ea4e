"""The commands, one per file; `TABLE` lists those of ``lokki …`` and ``python birds.py …``."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import click

from lokki.cli.program import Program
from lokki.decorators import Flow


class Entry(NamedTuple):
    """A command: the module of its name in this package; ``lokki_only``: not in a flow's program.

    The module has a ``command``: a click.Command, or a function that makes one for the flow of a
    program, or None for `lokki`.
    """

    name: str
    lokki_only: bool = False


TABLE = (
    Entry("init", lokki_only=True),
    Entry("run"),
    Entry("resume"),
    Entry("rerun"),
    Entry("runs"),
    Entry("show"),
    Entry("diff"),
    Entry("logs"),
    Entry("cancel"),
    Entry("pause"),
    Entry("unpause"),
    Entry("tune"),
    Entry("gc"),
    Entry("journal", lokki_only=True),
    Entry("config"),
    Entry("doctor", lokki_only=True),
    Entry("notify"),
    Entry("result"),
    Entry("flows", lokki_only=True),
    Entry("schedules", lokki_only=True),
    Entry("build"),
    Entry("rehearse"),
    Entry("plan"),
    Entry("deploy"),
    Entry("invoke"),
    Entry("destroy"),
    Entry("pull"),
    Entry("push"),
    Entry("serve", lokki_only=True),
    Entry("completion", lokki_only=True),
)
"""The commands in the order of the help."""


def load(name: str, flow: Flow[..., Any] | None, program: Program) -> click.Command:
    """Import a command and, if it is one for each flow, make it."""
    command = import_module(f"{__name__}.{name}").command
    made: click.Command = command if isinstance(command, click.Command) else command(flow, program)
    return made
