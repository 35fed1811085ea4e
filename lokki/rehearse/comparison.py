"""Compares a flow's result on AWS with its result here."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lokki.config import Notify, load
from lokki.engine.engine import Engine
from lokki.errors import PayloadError
from lokki.graph import FlowGraph
from lokki.store.codec import dumps


async def local_result(graph: FlowGraph[Any]) -> Any:
    """The result of a run here that leaves nothing behind and notifies nobody. Raises RunFailed."""
    config = replace(load(), notify=Notify())
    with tempfile.TemporaryDirectory(prefix="lokki-") as folder:
        async with Engine(journal=Path(folder, "lokki.db"), config=config) as engine:
            return await engine.run(graph)


def same(one: object, other: object) -> bool:
    """Whether two results are equal, or have the same pickle if equality is undecidable."""
    with suppress(Exception):
        if type(one) is type(other) and bool(one == other):
            return True
    try:
        return dumps(one) == dumps(other)
    except PayloadError:
        return False
