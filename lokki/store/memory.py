"""A payload store in memory, for tests and for runs that nobody resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lokki.errors import PayloadError
from lokki.store.keys import check_key, zip_key

if TYPE_CHECKING:
    from lokki.store.protocol import Data, Keys


class MemoryStore:
    """A store of every kind of `lokki.store.protocol` that lasts as long as the object."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def write(self, key: str, data: Data) -> None:
        self._objects[check_key(key)] = b"".join(data) if isinstance(data, list) else bytes(data)

    def read(self, key: str) -> bytes:
        data = self._objects.get(check_key(key))
        if data is None:
            raise PayloadError(f"no payload is stored under {key!r} in memory")
        return data

    async def close(self) -> None:
        """Does nothing: there is nothing to close."""

    async def put(self, key: str, data: Data) -> None:
        self.write(key, data)

    async def get(self, key: str) -> bytes:
        return self.read(key)

    async def exists(self, key: str) -> bool:
        return check_key(key) in self._objects

    async def delete(self, key: str) -> None:
        self._objects.pop(check_key(key), None)

    async def delete_prefix(self, prefix: str) -> int:
        return sum(self._objects.pop(key, None) is not None for key in self._under(prefix))

    async def list(self, prefix: str) -> Keys:
        return sorted(self._under(prefix))

    def url(self, key: str) -> str:
        return f"memory:///{check_key(key)}"

    async def upload_lambda_zip(self, flow_name: str, zip_data: bytes) -> str:
        key = zip_key(flow_name)
        self.write(key, zip_data)
        return self.url(key)

    def _under(self, prefix: str) -> Keys:
        start = f"{check_key(prefix, 'prefix')}/"
        # tuple() takes the keys in one step, so writers in other threads do no harm.
        return [key for key in tuple(self._objects) if key.startswith(start)]
