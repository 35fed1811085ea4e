"""What whoever runs calls asks of the one who has the stores: keep a result, or find one to reuse.

Generators yield these requests; whoever drives them answers, on this machine or another one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from lokki.store.codec import Chunks, compress_checked
from lokki.store.references import Reference

T = TypeVar("T")

INLINE_BYTES = 64 * 1024
"""Pickles up to this size are in the item's row, larger ones in the payload store."""


@dataclass(frozen=True, slots=True)
class Put:
    """A pickle to compress and store under ``key``; the answer is its reference."""

    key: str
    chunks: Chunks

    def packed(self) -> tuple[list[bytes | memoryview], str]:
        """What to store, and the reference to it."""
        data = compress_checked(self.chunks)
        return data, str(Reference.of(self.key, data))


@dataclass(frozen=True, slots=True)
class Packed(Put):
    """A result that has been compressed already."""

    ref: str

    @classmethod
    def of(cls, put: Put) -> Packed:
        data, ref = put.packed()
        return cls(put.key, [bytes(each) for each in data], ref)

    @classmethod
    def again(cls, key: str, data: bytes) -> Packed:
        """What was read back from a store, to be stored under another key."""
        return cls(key, [data], str(Reference.of(key, data)))

    def packed(self) -> tuple[list[bytes | memoryview], str]:
        return list(self.chunks), self.ref


@dataclass(frozen=True, slots=True)
class Lookup:
    """A call's result to reuse, at most ``seconds`` old; the answer is a `Found`, or None."""

    key: str
    seconds: float


class Found(NamedTuple):
    """A stored result as it was packed; ``large``: too large for a row."""

    data: bytes
    large: bool


StoreRequest: TypeAlias = Put | Lookup


def answered(asking: Generator[StoreRequest, Any, T], answer: Callable[[StoreRequest], Any]) -> T:
    """Run a generator to its end, which returns what it returns; ``answer`` serves its requests."""
    try:
        request = next(asking)
        while True:
            try:
                found = answer(request)
            except BaseException as error:
                request = asking.throw(error)
            else:
                request = asking.send(found)
    except StopIteration as end:
        result: T = end.value
        return result
