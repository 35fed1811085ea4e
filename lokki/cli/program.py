"""The program that a command line calls, and its commands as messages show them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from lokki.model.run import LOCAL


@dataclass(frozen=True)
class Program:
    """How the program was called, and the flow whose runs it handles (None: those of all flows).

    ``on`` is where its runs are: `LOCAL`, or the URL of a server.
    """

    name: str
    flow: str | None = None
    on: str = LOCAL

    def at(self, on: str) -> Program:
        """The program, for runs elsewhere."""
        return replace(self, on=on)

    def command(self, *words: str) -> str:
        """One of its commands, for the user to copy."""
        where = [] if self.on == LOCAL else ["--on", self.on]
        return f"{self.name} {shlex.join([*words, *where])}"
