from concurrent.futures import ThreadPoolExecutor

import pytest

from lokki.errors import PayloadError
from lokki.store.memory import MemoryStore
from lokki.store.protocol import BlockingStore, PayloadStore
from lokki.testing.stores import PayloadStoreConformance


class TestMemoryStore(PayloadStoreConformance):
    @pytest.fixture
    def store(self):
        return MemoryStore()


def test_it_is_both_kinds_of_store():
    store: PayloadStore = MemoryStore()
    assert isinstance(store, BlockingStore)


def test_blocking_methods():
    store = MemoryStore()
    store.write("a/b", b"x")
    assert store.read("a/b") == b"x"
    with pytest.raises(PayloadError, match="'a/c' in memory"):
        store.read("a/c")
    with pytest.raises(PayloadError):
        store.write("../a", b"")


def test_it_keeps_a_copy_of_what_can_change():
    store = MemoryStore()
    data = bytearray(b"before")
    store.write("a", data)
    data[:] = b"after!"
    assert store.read("a") == b"before"


@pytest.mark.asyncio
async def test_listing_while_threads_write():
    store = MemoryStore()
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(store.write, f"a/{n}", b"x") for n in range(2000)]
        while not all(write.done() for write in writes):
            await store.list("a")
    assert len(await store.list("a")) == 2000


def test_urls():
    assert MemoryStore().url("a/b") == "memory:///a/b"
