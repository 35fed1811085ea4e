"""Stored results, read when used."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio.to_thread

from lokki.backends import values

T = TypeVar("T")


class Use(Protocol):
    """Reads a stored result, and returns what a function in a thread makes of the packed value."""

    async def __call__(self, use: Callable[[bytes], T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class Output:
    """The result of an item, or of a stage that is not a map; ``length``: bytes to read.

    ``previewed`` reads its preview, a table as JSON, if it has one. Methods raise
    ResultUnreadable, and whatever a store raises.
    """

    used: Use
    length: int | None = None
    previewed: Callable[[], Awaitable[bytes | None]] | None = None

    @classmethod
    def of(
        cls, packed: bytes, previewed: Callable[[], Awaitable[bytes | None]] | None = None
    ) -> Output:
        """An output that has been read."""
        return cls(partial(_used, packed), previewed=previewed)

    async def packed(self) -> bytes:
        return await self.used(bytes)

    async def loaded(self) -> Any:
        """A value of Python's own types. Raises NotShown, without reading one that is too large."""
        values.check_length(self.length)
        return await self.used(values.loaded)

    async def shown_item(self, index: int) -> dict[str, Any] | None:
        """An item of the list that it is, as `values.shown_item`; None if it has no such item."""
        if values.is_too_long_a_list(self.length):
            return values.OF_LONG_LIST
        return await self.used(partial(values.shown_item, index=index))

    async def item_texts(self, indices: Iterable[int]) -> dict[int, str]:
        """The beginnings of items of the list that it is, as `values.item_texts`."""
        if values.is_too_long_a_list(self.length):
            return {}
        return await self.used(partial(values.item_texts, indices=indices))

    async def shown(self) -> dict[str, Any]:
        """As ``{"json": …}``, or as ``{"type": …, "bytes": …}``, with a ``preview`` of a table."""
        try:
            values.check_length(self.length)
            found = await self.used(values.shown)
        except values.NotShown as error:
            found = error.description
        if "json" in found or self.previewed is None:
            return found
        preview = await self.previewed()
        return found if preview is None else found | {"preview": json.loads(preview)}


async def _used(packed: bytes, use: Callable[[bytes], T]) -> T:
    return await anyio.to_thread.run_sync(use, packed)
