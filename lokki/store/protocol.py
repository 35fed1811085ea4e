"""The protocol of payload stores; ``lokki.testing.stores`` checks a store against it."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

# The protocol has a method called list, which hides the type from annotations in its class.
Keys: TypeAlias = list[str]

Data: TypeAlias = "bytes | list[bytes | memoryview]"
"""What is put: one buffer, or several that stand for their concatenation."""


class PayloadStore(Protocol):
    """Keeps bytes under keys; knows nothing of what they mean.

    A key is one or more parts joined by ``/``, each as ``lokki.store.keys.check_part`` allows; a
    prefix is the same, and stands for the keys that continue it by one part or more: ``a/runs/1``
    covers ``a/runs/1/s/output.pkl.gz``, and neither ``a/runs/10/s/output.pkl.gz`` nor itself. A
    key in use is never a prefix of another one; a store need not support that.

    Every method raises PayloadError for a key or prefix that is not allowed, and for whatever
    keeps the store from doing its work (what, where, and what to do about it). Methods may be
    called at once from many tasks.
    """

    async def put(self, key: str, data: Data) -> None:
        """Keep ``data`` under ``key``, replacing what was there.

        Durable when it returns. Atomic: a reader sees all of the old or all of the new, and of
        several at once one wins whole; one that fails leaves the old as it was.
        """
        ...

    async def get(self, key: str) -> bytes:
        """Return what was last put under ``key``. Raises PayloadError, naming it, if nothing was.

        A put that has returned is visible to every get that starts afterwards.
        """
        ...

    async def exists(self, key: str) -> bool:
        """Return whether ``get`` would find something under ``key``."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every object under ``prefix``; return how many there were (0 is no error).

        A put that goes on at the same time under another prefix is not disturbed; one under this
        prefix may succeed or fail, and its object stay or go.
        """
        ...

    async def list(self, prefix: str) -> Keys:
        """Return every key under ``prefix``, sorted by character code (none is no error)."""
        ...

    def url(self, key: str) -> str:
        """Return where ``key`` lies, in use or not: ``file:///…``, ``memory:///…``, ``s3://…``.

        Distinct keys have distinct URLs, each ending in ``/`` and its key. Does no I/O.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and the like; what is asked afterwards opens them again."""
        ...

    async def upload_lambda_zip(self, flow_name: str, zip_data: bytes) -> str:
        """Put ``zip_data`` under ``keys.zip_key(flow_name)`` and return its URL."""
        ...


TransientStore = PayloadStore
"""The name of `PayloadStore` in 0.1.0."""


@runtime_checkable
class BlockingStore(Protocol):
    """What a store may offer besides, for worker threads: the same without an event loop.

    Both methods may be called from many threads at once, and mix with the async ones.
    """

    def write(self, key: str, data: Data) -> None:
        """Do what ``put`` does, in the calling thread."""
        ...

    def read(self, key: str) -> bytes:
        """Do what ``get`` does, in the calling thread."""
        ...
