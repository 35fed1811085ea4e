"""References from rows to payloads; what is read back is checked against them.

A reference is a text: the key, the length of the data under it, and its SHA-256 as ``sha256sum``
prints it, separated by spaces. lokki 0.1.0 recorded only the key; then nothing is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lokki.errors import PayloadError, ResultUnreadable

if TYPE_CHECKING:
    from lokki.store.protocol import Data, PayloadStore
    from lokki.store.rows import StageRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reference:
    """A payload as recorded; ``length`` is in bytes, ``digest`` in hexadecimal digits."""

    key: str
    length: int | None = None
    digest: str | None = None

    @classmethod
    def of(cls, key: str, data: Data) -> Reference:
        """The reference to ``data``, stored under ``key``."""
        buffers = data if isinstance(data, list) else [data]
        from hashlib import sha256  # slow to import

        hashed = sha256()
        for buffer in buffers:
            hashed.update(buffer)
        return cls(key, sum(map(len, buffers)), hashed.hexdigest())

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference in a row's ``text``. Raises PayloadError if it is none."""
        match text.split(" "):
            case [key]:
                return cls(key)
            case [key, length, digest] if length.isdecimal():
                return cls(key, int(length), digest)
        raise PayloadError(f"the journal refers to a payload as {text!r}, which is not a reference")

    def __str__(self) -> str:
        return self.key if self.digest is None else f"{self.key} {self.length} {self.digest}"

    def check(self, data: bytes) -> None:
        """Raise PayloadError for data other than what was recorded."""
        if self.digest is None:
            return
        if len(data) != self.length:
            raise PayloadError(
                f"stored data is damaged or not the recorded one: its length is {len(data):,} "
                f"bytes, not {self.length:,}"
            )
        from hashlib import sha256  # slow to import

        found = sha256(data).hexdigest()
        if found != self.digest:
            raise PayloadError(
                "stored data is damaged or not the recorded one: its content differs, with the "
                f"SHA-256 {found}, not {self.digest}"
            )


async def stored(
    store: PayloadStore, stage: StageRow, index: int, ref: str, use: Callable[[bytes], T]
) -> T:
    """What ``use`` makes, in a thread, of the payload with the reference ``ref`` in an item's row.

    Raises ResultUnreadable, which names the item and what to do, if the payload is missing, is not
    the recorded one, or cannot be read by ``use``.
    """
    import anyio.to_thread  # not in a worker, which starts sooner without it

    reference = Reference.parse(ref)

    def used(data: bytes) -> T:
        reference.check(data)
        return use(data)

    try:
        data = await store.get(reference.key)
        return await anyio.to_thread.run_sync(used, data)
    except PayloadError as error:
        raise unreadable(stage, index, error, store.url(reference.key)) from error


def unreadable(stage: StageRow, index: int, error: PayloadError, url: str = "") -> ResultUnreadable:
    """The error for an item's result that cannot be read back; ``url`` is its payload's, if any."""
    item = f", item {index}," if stage.kind == "map" else ""
    where = f"the payload {url}: " if url else ""
    return ResultUnreadable(
        f"the result of step '{stage.name}'{item} cannot be read back: {where}{error}; fix that "
        f"and resume the run, or resume it from stage '{stage.name}', which makes it again",
        stage.name,
    )
