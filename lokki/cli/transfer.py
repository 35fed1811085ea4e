"""The store of large results, for the commands that move runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from lokki.config import Config
    from lokki.postgres_url import Place
    from lokki.store.protocol import PayloadStore

T = TypeVar("T")


async def with_large(
    journal: Place, config: Config, use: Callable[[PayloadStore], Awaitable[T]]
) -> T:
    """What ``use`` returns for the store of large results beside the journal."""
    from lokki.engine.payloads import payload_store

    large = payload_store(journal, config)
    try:
        return await use(large)
    finally:
        await large.close()
