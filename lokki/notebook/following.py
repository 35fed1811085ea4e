"""Shows a run in the notebook that runs it, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import anyio

from lokki.config import load
from lokki.engine.engine import RunHandle
from lokki.engine.events import RunFinished
from lokki.engine.view import RunView, StageView
from lokki.errors import RunCancelled, RunFailed
from lokki.ipython import show_as
from lokki.notebook.card import Card
from lokki.stages import MapStage

_REFRESH_SECONDS = 0.25


@asynccontextmanager
async def shown(handle: RunHandle[Any]) -> AsyncIterator[None]:
    """Inside this context, which a run ends in, show it below the cell.

    Its errors get a note that says how to resume it.
    """
    resume = f"Resume it: {_function(handle)}.resume_sync({handle.run_id!r})"
    following = asyncio.create_task(_follow(handle))
    try:
        yield
    except (RunFailed, RunCancelled) as error:
        error.add_note(resume)
        raise
    except asyncio.CancelledError as error:
        show_as(error, f"Interrupted: run {handle.run_id} was cancelled", resume)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await following


def _function(handle: RunHandle[Any]) -> str:
    """The name of the flow's function."""
    flow = handle.graph.flow
    return handle.graph.name if flow is None else str(flow.fn.__name__)


async def _follow(handle: RunHandle[Any]) -> None:
    """Show a run until it ends."""
    from IPython.display import display

    stages = [
        StageView(stage.name, is_map=isinstance(stage, MapStage)) for stage in handle.graph.stages
    ]
    view = RunView(stages)
    card = Card(handle.graph.name, handle.run_id, view.stages, load().server.url, monotonic())
    shown: Any = display(card, display_id=True)  # type: ignore[no-untyped-call]
    drawing = asyncio.create_task(_draw(card, shown))
    async for event in handle.events():
        view.event(event, monotonic())
        if isinstance(event, RunFinished):
            card.end(event.status, monotonic())
    drawing.cancel()
    shown.update(card)


async def _draw(card: Card, shown: Any) -> None:
    while True:
        await anyio.sleep(_REFRESH_SECONDS)
        shown.update(card)
