"""Results of earlier calls, and results for later ones, as `perform` and its worker see them.

The first calls of a slice have been looked up before (`lookups.py`); an inner step's call, whose
input is not known before, asks for itself. A result that cannot be read back is as good as none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from time import time
from typing import Any, NamedTuple, Protocol

from lokki.caching import key_of
from lokki.call import BoundCall
from lokki.engine.storing import INLINE_BYTES, Found, Lookup, Packed, Put, StoreRequest
from lokki.errors import PayloadError
from lokki.store.codec import Chunks, compress_small, dumps, unpack
from lokki.store.keys import cached_key, output_key
from lokki.store.outcomes import CachedRow


class Reused(NamedTuple):
    """A result of an earlier call, and as it was found."""

    value: Any
    found: Found


class Storing(Protocol):
    """The calls of a stage, and who records their results."""

    @property
    def calls(self) -> tuple[BoundCall, ...]: ...
    @property
    def writer(self) -> Named: ...


class Named(Protocol):
    """Whether a run is recorded here no longer, and the name of who records it."""

    @property
    def closed(self) -> bool: ...
    @property
    def name(self) -> str: ...


def looked_up(
    keys: Mapping[int, str | None],
    call: BoundCall,
    value: Any,
    index: int,
    within: Callable[..., Any],
) -> Generator[StoreRequest, Any, tuple[str | None, Reused | None]]:
    """The key of a call, if its result may be kept, and a result to use in its place, if any.

    ``keys`` are those of the items whose first call has been looked up.
    """
    caching = call.caching
    assert caching is not None
    if index in keys:
        return keys[index], None
    key: str | None = within(key_of, caching, value)
    if key is None or not caching.looks:
        return key, None
    found = yield Lookup(key, caching.seconds)
    return key, None if found is None else within(loaded, found)


def adopted(
    work: Storing, position: int, index: int, found: Found
) -> Generator[StoreRequest, Any, tuple[bytes | None, str | None]]:
    """A result to reuse as the row of its item has it: packed, or the reference to a copy."""
    if not found.large:
        return found.data, None
    return None, (yield Packed.again(payload_key(work, position, index), found.data))


def payload_key(work: Storing, position: int, index: int) -> str:
    """The key of the payload of an item's result at an inner step."""
    call = work.calls[position]
    item = index if call.in_map else None
    return output_key(call.flow, call.run_id, call.name, item, work.writer.name)


def kept(
    call: BoundCall, key: str, packed: bytes | None, chunks: Chunks
) -> Generator[StoreRequest, Any, list[CachedRow]]:
    """The row of a result that later calls may reuse; none if its payload cannot be stored.

    ``chunks`` are those of its pickle, if it is too large for a row.
    """
    assert call.caching is not None
    ref = None
    if packed is None:
        try:
            ref = yield Put(cached_key(key), chunks)
        except Exception:  # the item has its result nevertheless
            return []
    now = time()
    return [(key, call.name, now, now + call.caching.seconds, packed, ref)]


def kept_inner(
    call: BoundCall, key: str, result: Any, within: Callable[..., Any]
) -> Generator[StoreRequest, Any, list[CachedRow]]:
    """Like `kept`, for the result of an inner step, which need not be storable."""
    try:
        raw = within(dumps, result)
    except PayloadError:
        return []
    packed = compress_small(raw) if len(raw) <= INLINE_BYTES else None
    return (yield from kept(call, key, packed, [raw]))


def loaded(found: Found) -> Reused | None:
    """A stored result with its value; None if it cannot be unpickled."""
    try:
        return Reused(unpack(found.data), found)
    except PayloadError:
        return None
