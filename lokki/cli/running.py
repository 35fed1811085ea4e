"""Starts a run here or on a server."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lokki.cli.program import Program
from lokki.config import Config

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lokki.backends.server import ServerBackend
    from lokki.cli.execute import Handle
    from lokki.cli.render.report import LineReport, Outline
    from lokki.graph import FlowGraph
    from lokki.model.run import Run


def run_here(
    graph: FlowGraph[Any],
    config: Config,
    program: Program,
    *,
    no_cache: bool = False,
    tags: Sequence[str] = (),
) -> int:
    """Run a flow on this machine and print its result; the exit code."""
    from lokki.cli.execute import Start, execute, in_engine
    from lokki.cli.render.report import outlines

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        started_by = command_line(program)
        return in_engine(
            lambda engine: engine.submit(
                graph, started_by=started_by, no_cache=no_cache, tags=tags
            ),
            graph,
            config,
            report,
        )

    return execute(Start(begin, outlines(graph), program), config)


def run_there(
    backend: ServerBackend,
    start: Callable[[], Run],
    stages: Sequence[Outline],
    config: Config,
    program: Program,
) -> int:
    """Follow a run that ``start`` starts on a server, and print its result; the exit code."""
    from lokki.cli.execute import Start, execute
    from lokki.cli.follow import followed

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        return followed(backend, start, None, report, backend.result)

    return execute(Start(begin, stages, program), config)


def command_line(program: Program) -> str:
    """How the program was called."""
    return f"{program.name} {shlex.join(sys.argv[1:])}"
