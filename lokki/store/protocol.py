"""The protocol of payload stores; ``lokki.testing.stores`` checks a store against it."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

# The protocol has a method named list, which hides the type from annotations in its class.
Keys: TypeAlias = list[str]

Data: TypeAlias = "bytes | list[bytes | memoryview]"
"""What to put: one buffer, or several that stand for their concatenation."""


class PayloadStore(Protocol):
    """Keeps bytes under keys, without knowing their meaning.

    A key is one or more parts joined by ``/``, each as ``lokki.store.keys.check_part`` allows. A
    prefix looks the same and stands for the keys that continue it by at least one part:
    ``a/runs/1`` covers ``a/runs/1/s/output.pkl.gz``, but not ``a/runs/10/s/output.pkl.gz`` or
    itself. A key in use is never a prefix of another one; a store need not support that.

    Every method raises PayloadError for an invalid key or prefix, and for anything that prevents
    the store from doing its work (what, where, and what to do about it). Many tasks may call
    methods at the same time.
    """

    async def put(self, key: str, data: Data) -> None:
        """Keep ``data`` under ``key``, replacing what was there.

        Durable on return. Atomic: a reader sees all of the old or all of the new data; of several
        concurrent puts, one wins completely; a failed one leaves the old data.
        """
        ...

    async def get(self, key: str) -> bytes:
        """Return what was last put under ``key``; PayloadError, naming it, if there is nothing.

        A put that has returned is visible to every later get.
        """
        ...

    async def exists(self, key: str) -> bool:
        """Return whether ``get`` would find something under ``key``."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every object under ``prefix``; return how many there were (0 is not an error).

        A concurrent put under another prefix is not disturbed; one under this prefix may succeed or
        fail, and its object may stay or go.
        """
        ...

    async def list(self, prefix: str) -> Keys:
        """Return every key under ``prefix``, sorted by character code (none is not an error)."""
        ...

    def url(self, key: str) -> str:
        """Return the URL of ``key``, in use or not: ``file:///…``, ``memory:///…``, ``s3://…``.

        Distinct keys have distinct URLs, each ending in ``/`` and its key. Does no I/O.
        """
        ...

    async def close(self) -> None:
        """Close connections and the like; later requests open them again."""
        ...

    async def upload_lambda_zip(self, flow_name: str, zip_data: bytes) -> str:
        """Put ``zip_data`` under ``keys.zip_key(flow_name)`` and return its URL."""
        ...


TransientStore = PayloadStore
"""The name of `PayloadStore` in 0.1.0."""


@runtime_checkable
class DeletingStore(Protocol):
    """What a store may also offer, to delete single objects.

    Without it, what a process that has lost its run stored stays until the run is removed.
    """

    async def delete(self, key: str) -> None:
        """Remove the object under ``key``, if there is one."""
        ...


@runtime_checkable
class BlockingStore(Protocol):
    """What a store may also offer, for worker threads: the same without an event loop.

    Many threads may call both methods at the same time, also together with the async ones.
    """

    def write(self, key: str, data: Data) -> None:
        """Do what ``put`` does, in the calling thread."""
        ...

    def read(self, key: str) -> bytes:
        """Do what ``get`` does, in the calling thread."""
        ...
