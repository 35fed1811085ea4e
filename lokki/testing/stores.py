"""The contract of ``PayloadStore`` as tests; needs pytest and pytest-asyncio.

Subclass it in a test module of yours and give it a store, empty for every test::

    import pytest
    from lokki.testing.stores import PayloadStoreConformance

    class TestMyStore(PayloadStoreConformance):
        @pytest.fixture
        def store(self):
            return MyStore(...)

``pytest.register_assert_rewrite("lokki.testing.stores")`` in your ``conftest.py``, before this
import, makes failures show the values compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from lokki.errors import PayloadError
from lokki.store.keys import manifest_key, output_key, run_prefix, zip_key
from lokki.store.protocol import DeletingStore

if TYPE_CHECKING:
    from lokki.store.protocol import PayloadStore

BAD_KEYS = (
    "",
    "/",
    "/absolute/key",
    "a/",
    "a//b",
    ".",
    "..",
    "../outside",
    "a/../b",
    "a/./b",
    "a/.hidden",
    "a\\b",
    "a/b c",
    "a/b\n",
    "a/b\0",
    "a/größe",
    "a/-flag",
    "a/" + "x" * 81,
)
"""Keys and prefixes that every method refuses."""

KEY = output_key("flow", "run-1", "clean")


@pytest.mark.asyncio
class PayloadStoreConformance:
    """Inherit from this and define a ``store`` fixture."""

    async def test_put_then_get_gives_the_same_bytes(self, store: PayloadStore) -> None:
        await store.put(KEY, b"\x00\r\n\xff" * 10)
        assert await store.get(KEY) == b"\x00\r\n\xff" * 10

    async def test_every_key_of_the_layout_works(self, store: PayloadStore) -> None:
        longest = output_key("f" * 80, "r" * 80, "s" * 80, 10**12)
        item = output_key("flow", "run-1", "clean-2", 0)
        for key in (KEY, item, manifest_key("flow", "run-1", "clean-2"), longest, "top"):
            await store.put(key, key.encode())
        for key in (KEY, item, manifest_key("flow", "run-1", "clean-2"), longest, "top"):
            assert await store.get(key) == key.encode()

    async def test_empty_data_is_an_object(self, store: PayloadStore) -> None:
        await store.put(KEY, b"")
        assert await store.get(KEY) == b""
        assert await store.exists(KEY)
        assert await store.list("flow") == [KEY]

    async def test_a_mebibyte_comes_back_whole(self, store: PayloadStore) -> None:
        data = bytes(range(256)) * 4096
        await store.put(KEY, data)
        assert await store.get(KEY) == data

    async def test_several_buffers_are_put_as_one(self, store: PayloadStore) -> None:
        await store.put(KEY, [b"", b"ab", memoryview(b"cde"), b"", *[b"f"] * 3000])
        assert await store.get(KEY) == b"abcde" + b"f" * 3000
        await store.put(KEY, [])
        assert await store.get(KEY) == b""

    async def test_put_overwrites(self, store: PayloadStore) -> None:
        await store.put(KEY, b"a long first value")
        await store.put(KEY, b"short")
        assert await store.get(KEY) == b"short"
        assert await store.list("flow") == [KEY]

    async def test_get_of_a_missing_key_names_it(self, store: PayloadStore) -> None:
        with pytest.raises(PayloadError, match=KEY):
            await store.get(KEY)

    async def test_a_prefix_is_no_object(self, store: PayloadStore) -> None:
        await store.put(KEY, b"x")
        prefix = run_prefix("flow", "run-1")
        assert not await store.exists(prefix)
        with pytest.raises(PayloadError, match=prefix):
            await store.get(prefix)

    async def test_exists(self, store: PayloadStore) -> None:
        assert not await store.exists(KEY)
        await store.put(KEY, b"x")
        assert await store.exists(KEY)
        assert not await store.exists(KEY + "/deeper")
        await store.delete_prefix("flow")
        assert not await store.exists(KEY)

    async def test_list_is_sorted_and_complete(self, store: PayloadStore) -> None:
        keys = [output_key("flow", "run-1", "s", index) for index in range(12)]
        keys += [output_key("flow", "run-1", step) for step in ("Zeta", "_a", "a-b", "a.b", "a")]
        for key in keys:
            await store.put(key, b"x")
        await store.put(output_key("other", "run-1", "s"), b"x")
        assert await store.list("flow/runs/run-1") == sorted(keys)

    async def test_list_of_nothing_is_empty(self, store: PayloadStore) -> None:
        assert await store.list("flow") == []
        await store.put(KEY, b"x")
        assert await store.list("flow/runs/run-2") == []

    async def test_prefixes_are_whole_parts(self, store: PayloadStore) -> None:
        ours, other = output_key("a", "1", "s"), output_key("a", "10", "s")
        await store.put(ours, b"x")
        await store.put(other, b"y")
        assert await store.list("a/runs/1") == [ours]
        assert await store.delete_prefix("a/run") == 0
        assert await store.delete_prefix("a/runs/1") == 1
        assert await store.list("a") == [other]
        assert await store.get(other) == b"y"

    async def test_a_prefix_does_not_cover_itself(self, store: PayloadStore) -> None:
        await store.put(KEY, b"x")
        assert await store.list(KEY) == []
        assert await store.delete_prefix(KEY) == 0
        assert await store.get(KEY) == b"x"

    async def test_delete_prefix_counts_what_it_removed(self, store: PayloadStore) -> None:
        for index in range(5):
            await store.put(output_key("flow", "run-1", "s", index), b"x")
        await store.put(manifest_key("flow", "run-1", "s"), b"[]")
        await store.put(output_key("flow", "run-2", "s"), b"kept")
        assert await store.delete_prefix(run_prefix("flow", "run-1")) == 6
        assert await store.delete_prefix(run_prefix("flow", "run-1")) == 0
        assert await store.list("flow") == [output_key("flow", "run-2", "s")]

    async def test_delete_removes_one_object(self, store: PayloadStore) -> None:
        if not isinstance(store, DeletingStore):
            pytest.skip("it deletes no single objects, which is optional")
        keys = [output_key("flow", "run-1", "s", index, "w1") for index in range(3)]
        for key in (*keys, KEY):
            await store.put(key, b"x")
        await store.delete(keys[1])
        await store.delete(keys[1])
        assert await store.list("flow") == [KEY, keys[0], keys[2]]
        for key in (*keys, KEY):
            await store.delete(key)
        assert await store.list("flow") == []
        await store.put(keys[1], b"y")
        assert await store.get(keys[1]) == b"y"
        for key in BAD_KEYS:
            with pytest.raises(PayloadError):
                await store.delete(key)

    async def test_a_deleted_key_can_be_put_again(self, store: PayloadStore) -> None:
        await store.put(KEY, b"old")
        await store.delete_prefix("flow")
        await store.put(KEY, b"new")
        assert await store.get(KEY) == b"new"

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    async def test_keys_that_are_not_allowed_are_refused(
        self, store: PayloadStore, key: str
    ) -> None:
        with pytest.raises(PayloadError):
            await store.put(key, b"x")
        for method in (store.get, store.exists, store.list, store.delete_prefix):
            with pytest.raises(PayloadError):
                await method(key)
        with pytest.raises(PayloadError):
            store.url(key)

    async def test_urls_are_distinct_and_end_in_the_key(self, store: PayloadStore) -> None:
        keys = [output_key("flow", run, step) for run in ("1", "10") for step in ("a", "A", "a.b")]
        assert len({store.url(key) for key in keys}) == len(keys)
        for key in keys:
            assert store.url(key).endswith(f"/{key}")
            assert "://" in store.url(key)

    async def test_a_url_stays_the_same(self, store: PayloadStore) -> None:
        before = store.url(KEY)
        await store.put(KEY, b"x")
        assert store.url(KEY) == before

    async def test_upload_lambda_zip(self, store: PayloadStore) -> None:
        assert await store.upload_lambda_zip("flow", b"PK\x05\x06") == store.url(zip_key("flow"))
        assert await store.get(zip_key("flow")) == b"PK\x05\x06"

    async def test_upload_lambda_zip_refuses_a_bad_name(self, store: PayloadStore) -> None:
        with pytest.raises(PayloadError, match="flow name"):
            await store.upload_lambda_zip("../flow", b"")

    async def test_readers_see_whole_objects_while_writers_race(self, store: PayloadStore) -> None:
        values = [bytes([byte]) * (20_000 + byte) for byte in range(12)]
        await store.put(KEY, values[0])
        seen: list[bytes] = []

        async def read() -> None:
            seen.append(await store.get(KEY))

        async with anyio.create_task_group() as tasks:
            for value in values:
                tasks.start_soon(store.put, KEY, value)
                tasks.start_soon(read)
        assert set(seen) <= set(values)
        assert await store.get(KEY) in values
        assert await store.list("flow") == [KEY]

    async def test_puts_at_once_on_many_keys(self, store: PayloadStore) -> None:
        keys = [output_key("flow", "run-1", "s", index) for index in range(40)]
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(store.put, key, key.encode())
        assert await store.list("flow") == sorted(keys)
        for key in keys:
            assert await store.get(key) == key.encode()

    async def test_a_put_survives_deletions_beside_it(self, store: PayloadStore) -> None:
        keys = [output_key("flow", f"kept-{n}", "s") for n in range(20)]
        for n in range(len(keys)):
            await store.put(output_key("flow", f"old-{n}", "s"), b"x")
        async with anyio.create_task_group() as tasks:
            for n, key in enumerate(keys):
                tasks.start_soon(store.delete_prefix, run_prefix("flow", f"old-{n}"))
                tasks.start_soon(store.put, key, b"y")
        assert await store.list("flow") == sorted(keys)
        assert [await store.get(key) for key in keys] == [b"y"] * len(keys)


TransientStoreConformance = PayloadStoreConformance
"""The name of `PayloadStoreConformance` in 0.1.0."""
