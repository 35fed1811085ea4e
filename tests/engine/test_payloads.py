"""Where an engine keeps large results, as it is configured."""

from __future__ import annotations

import anyio
import pytest
from aiobotocore.session import get_session

from lokki import ConfigError, Engine, PayloadError, RetryConfig, RunCancelled, flow, step
from lokki.cli.removal import collect
from lokki.config import load
from lokki.engine.events import StageProgressed
from lokki.engine.payloads import payload_store
from lokki.resumption import ResumeOptions
from lokki.store.local import LocalStore
from lokki.store.memory import MemoryStore


@step
def numbers(count):
    return list(range(count))


@step
def widened(number):
    return bytes([number]) * 300_000


@step
def lengths(values):
    return [len(set(value)) * len(value) for value in values]


@flow
def wide(count: int = 3):
    return numbers(count).map(widened).agg(lengths)


@pytest.mark.asyncio
async def test_large_results_are_kept_in_s3(aws, journal, monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_PAYLOADS", "s3://results/team")
    monkeypatch.setenv("LOKKI_AWS_ENDPOINT", aws)
    async with get_session().create_client("s3", endpoint_url=aws) as client:
        await client.create_bucket(
            Bucket="results", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"}
        )

        async def keys():
            found = await client.list_objects_v2(Bucket="results")
            return [each["Key"] for each in found.get("Contents", ())]

        async with Engine() as engine:
            handle = engine.submit(wide, {"count": 3})
            assert await handle.result() == [300_000] * 3
        stored = await keys()
        (prefix,) = {key.rpartition("/")[0] for key in stored}
        assert prefix.startswith(f"team/wide/runs/{handle.run_id}/widened/")
        assert stored == [f"{prefix}/{index}.pkl.gz" for index in range(3)]
        await client.copy_object(  # another item's payload of the same length
            Bucket="results", Key=stored[1], CopySource={"Bucket": "results", "Key": stored[0]}
        )
        async with Engine() as engine:
            resumed = await engine.resume(handle.run_id, wide, ResumeOptions(from_stage="lengths"))
            with pytest.raises(PayloadError) as caught:
                await resumed.result()
        place = f"item 1, cannot be read back: the payload s3://results/{stored[1]}: "
        assert place in str(caught.value)
        assert "not the recorded one" in str(caught.value)
        async with Engine() as engine:
            resumed = await engine.resume(handle.run_id, wide, ResumeOptions(from_stage="widened"))
            assert await resumed.result() == [300_000] * 3
        anew = await keys()
        assert len(anew) == 3, "what a resume has taken back is left there"
        assert not set(stored) & set(anew)
        async with Engine() as engine:
            resumed = await engine.resume(handle.run_id, wide)
            assert await resumed.result() == [300_000] * 3
        assert not (journal.parent / "payloads").exists()
        await anyio.to_thread.run_sync(collect, load(), None, None, 0, False)
        assert await keys() == []


@pytest.mark.asyncio
async def test_an_input_that_is_kept_for_a_retry_is_checked_as_well(journal):
    closed = True

    @step(retry=RetryConfig(retries=1, delay=600))
    def picky(value):
        if closed:
            raise OSError("closed")
        return len(value)

    @flow
    def picked():
        return numbers(2).map(widened).next(picky)

    store = MemoryStore()
    async with Engine(payloads=store) as engine:
        handle = engine.submit(picked)
        async for event in handle.events():
            if isinstance(event, StageProgressed) and event.counts.retrying == 2:
                handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        kept = await store.list("picked")
        assert len(kept) == 2
        right = store.read(kept[1])
        store.write(kept[1], b"x" * len(right))
        closed = False
        told = rf"'widened', item 1, cannot .* payload {store.url(kept[1])}: .* content differs.*"
        with pytest.raises(PayloadError, match=told + "from stage 'widened', which makes it again"):
            await (await engine.resume(handle.run_id, picked)).result()
        store.write(kept[1], right)
        assert await (await engine.resume(handle.run_id, picked)).result() == [300_000] * 2


def test_a_folder_is_the_default(tmp_path, monkeypatch):
    for place in (None, str(tmp_path / "large")):
        if place:
            monkeypatch.setenv("LOKKI_LOCAL_PAYLOADS", place)
        assert isinstance(payload_store(tmp_path / "lokki.db", load()), LocalStore)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("gs://bucket", "neither a folder nor like s3://bucket/prefix"),
        ("s3:///prefix", "neither a folder nor like s3://bucket/prefix"),
        ("s3://bucket/a//b", "cannot be part of a storage key"),
    ],
)
def test_what_is_no_store_is_reported(tmp_path, monkeypatch, place, told):
    monkeypatch.setenv("LOKKI_LOCAL_PAYLOADS", place)
    with pytest.raises(ConfigError, match=told):
        payload_store(tmp_path / "lokki.db", load())
