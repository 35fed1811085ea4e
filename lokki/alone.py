"""Runs a flow in an engine of its own, for a program that has none."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Mapping
from typing import Any, TextIO, TypeVar

import anyio.to_thread

from lokki.engine.engine import Engine, RunHandle, engine_for
from lokki.engine.importing import check_may_run
from lokki.graph import FlowDefinition, FlowGraph
from lokki.ipython import in_notebook
from lokki.resumption import ResumeOptions

R = TypeVar("R")


def run_alone(graph: FlowGraph[R]) -> Coroutine[Any, Any, R]:
    """Run a graph in an engine of its own.

    Where no flow may run, this raises at once: the coroutine may never be awaited, since a running
    event loop refuses another.
    """
    check_may_run()

    async def run() -> R:
        async with engine_for(graph, echo=_echo()) as engine:
            return await _ended(engine.submit(graph))

    run.__qualname__ = _of_flow(graph, "run")
    return run()


def resume_alone(
    flow: FlowDefinition[..., R],
    name: str,
    again: ResumeOptions | None,
    secrets: Mapping[str, Any] | None,
) -> Coroutine[Any, Any, R]:
    """Resume a run in an engine of its own, like `run_alone`; ``name`` is its id or ``last``."""
    check_may_run()

    async def resume() -> R:
        async with Engine(echo=_echo()) as engine:
            found = await anyio.to_thread.run_sync(engine.journal.history.find, name, flow.name)
            return await _ended(await engine.resume(found.id, flow, again, secrets=secrets))

    resume.__qualname__ = _of_flow(flow, "resume")
    return resume()


def _of_flow(flow: FlowGraph[Any] | FlowDefinition[..., Any], verb: str) -> str:
    """The name of a coroutine, for Python's warning that nothing awaits it: ``birds_flow.run``."""
    return f"{flow.name.replace('-', '_')}.{verb}"


def _echo() -> TextIO | None:
    """Where the output of steps is shown: a notebook has stderr, worker processes' too, in red."""
    return sys.stdout if in_notebook() else None


async def _ended(handle: RunHandle[R]) -> R:
    """The result of a run, which a notebook shows while it runs."""
    if not in_notebook():
        return await handle.ended()
    from lokki.notebook.following import shown

    async with shown(handle):
        return await handle.ended()
