"""Stores the parameters of runs and reads them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from lokki.config import Config, journal_path
from lokki.engine.payloads import payload_store
from lokki.engine.threads import in_thread
from lokki.errors import PayloadError
from lokki.graph import FlowGraph
from lokki.secret import Secret
from lokki.store.codec import dumps
from lokki.store.parameters import (
    KeptParams,
    WrittenParams,
    keep,
    with_params,
    written_params,
)

if TYPE_CHECKING:
    from lokki.store.protocol import PayloadStore
    from lokki.store.runs import RunRecord


async def kept_params(graph: FlowGraph[Any], run_id: str, store: PayloadStore) -> KeptParams:
    """The parameters of a graph as its run keeps them, without secrets. Raises PayloadError."""

    def written() -> WrittenParams:
        parameters = graph.flow.parameters if graph.flow else None
        shown = parameters.to_json(graph.params) if parameters else {}
        return written_params(packed_params(graph), shown)

    # Without parameters, there is no code of the user's that may take long.
    found = await in_thread(written) if graph.params else written()
    return await keep(store, graph.name, run_id, found)


def packed_params(graph: FlowGraph[Any]) -> bytes:
    """The pickle of a graph's parameters, without secrets. Raises PayloadError."""
    try:
        return dumps({k: v for k, v in graph.params.items() if not isinstance(v, Secret)})
    except PayloadError as error:
        raise PayloadError(f"the parameters of the run cannot be stored: {error}") from error


async def with_configured_params(run: RunRecord, config: Config) -> RunRecord:
    """Like `with_params`, for a run of the configured journal."""
    if run.params_ref is None:
        return run
    store = payload_store(journal_path(config), config)
    try:
        return await with_params(run, store)
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()
