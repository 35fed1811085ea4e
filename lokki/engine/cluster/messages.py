"""The messages between the engine and a Dask worker."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import cloudpickle

from lokki.engine.cluster.stores import Place
from lokki.engine.program import Program

_lokki: Any = sys.modules["lokki"]
VERSIONS = (
    f"lokki {_lokki.__version__}, Python {sys.version_info.major}.{sys.version_info.minor}, "
    f"cloudpickle {cloudpickle.__version__}"
)
"""What must be the same here and there: messages are pickles of these."""
KEY = "lokki-{engine}-{number}"
"""The key of a slice's Dask task."""


class Settings(NamedTuple):
    """How worker processes are kept, as in the engine's configuration."""

    worker_threads: int | None
    worker_idle: int
    worker_calls: int | None
    worker_memory: int | None


class News(NamedTuple):
    """What a Dask worker must know before it can serve the orders of a stage.

    ``place`` is where it can store large results.
    """

    run_id: str
    program: Program
    definition: bytes
    settings: Settings
    place: Place | None


class Kept(NamedTuple):
    """The content of an order that is in the payload store."""

    key: str


class Order(NamedTuple):
    """A request to serve, in one Dask task.

    ``engine`` and ``number`` identify it, ``key`` the stage's description in this engine.
    """

    engine: str
    number: int
    key: int
    news: bytes | None
    timeouts: tuple[float | None, ...]
    content: Any


class Seen(NamedTuple):
    """How far an order is, and what its worker has sent since it was last asked.

    ``messages`` are (kind, of, content), as in `lokki.engine.worker`.
    """

    begun: int
    position: int
    messages: list[tuple[str, Any, Any]]


class Reply(NamedTuple):
    """How an order ended.

    ``kind`` is "answer" with the content of one, or why there is none: "unknown" (the news are
    needed), "unreached" (its content is in a store that this worker cannot read), "second" (it was
    begun before, by a worker that has died), "left" (or that has left the cluster), "again",
    "unloadable", "unimportable", "late", "died", "cancelled", "refused".
    """

    kind: str
    content: Any
    seen: Seen
