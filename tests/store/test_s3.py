"""S3Store against an S3 in this process: moto's server, over HTTP."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, closing
from uuid import uuid4

import anyio
import pytest
import pytest_asyncio
from aiobotocore.session import get_session

from lokki.errors import PayloadError
from lokki.store import s3
from lokki.store.keys import output_key
from lokki.store.s3 import S3Store
from lokki.testing.stores import PayloadStoreConformance

KEY = output_key("flow", "run-1", "step", 0)


@pytest.fixture(autouse=True)
def in_aws(aws):
    """Every test here has an AWS."""


@pytest.fixture
def endpoint(aws):
    return aws


@asynccontextmanager
async def client(endpoint):
    async with get_session().create_client("s3", endpoint_url=endpoint) as made:
        yield made


@pytest_asyncio.fixture
async def bucket(endpoint):
    name = f"bucket-{uuid4()}"
    async with client(endpoint) as made:
        await made.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"}
        )
    return name


class TestS3Store(PayloadStoreConformance):
    @pytest_asyncio.fixture
    async def store(self, bucket, endpoint):
        async with S3Store(bucket, endpoint=endpoint) as made:
            yield made


@pytest_asyncio.fixture
async def store(bucket, endpoint):
    async with S3Store(bucket, endpoint=endpoint) as made:
        yield made


@pytest.mark.asyncio
async def test_an_object_lies_where_its_url_says(bucket, endpoint):
    async with S3Store(bucket, "team", endpoint=endpoint) as store:
        await store.put(KEY, b"x")
        assert store.url(KEY) == f"s3://{bucket}/team/{KEY}"
        assert await store.list("flow") == [KEY]
    async with client(endpoint) as made:
        answer = await made.get_object(Bucket=bucket, Key=f"team/{KEY}")
        assert await answer["Body"].read() == b"x"


def test_the_bucket_may_be_that_of_the_environment(bucket, endpoint, monkeypatch):
    monkeypatch.setenv("LOKKI_ARTIFACT_BUCKET", bucket)
    assert S3Store(endpoint=endpoint).url("a/b") == f"s3://{bucket}/a/b"
    monkeypatch.delenv("LOKKI_ARTIFACT_BUCKET")
    with pytest.raises(PayloadError, match="there is no bucket: S3Store"):
        S3Store(endpoint=endpoint)


@pytest.mark.asyncio
async def test_only_the_first_creates_an_object(store):
    assert await store.create(KEY, b"first") is True
    assert await store.create(KEY, b"second") is False
    assert await store.get(KEY) == b"first"
    created = await asyncio.gather(*(store.create(KEY + "-2", bytes([n])) for n in range(8)))
    assert sum(created) == 1


@pytest.mark.asyncio
async def test_a_large_object_comes_in_parts_and_whole(store, bucket, endpoint, monkeypatch):
    monkeypatch.setattr(s3, "_PART", 5 * 1024 * 1024)
    data = bytes(range(256)) * (21 * 4096)  # 21 MiB: four parts, and a short one
    await store.put(KEY, [data[:7], memoryview(data)[7:]])
    assert await store.get(KEY) == data
    async with client(endpoint) as made:
        head = await made.head_object(Bucket=bucket, Key=KEY)
        assert head["ETag"].strip('"').endswith("-5"), "it was not put in parts"


@pytest.mark.asyncio
async def test_a_large_object_that_fails_leaves_nothing(bucket, endpoint, monkeypatch):
    monkeypatch.setattr(s3, "_PART", 5 * 1024 * 1024)
    large = bytes(200 * 1024 * 1024)
    async with S3Store(bucket, endpoint=endpoint) as store, client(endpoint) as made:
        await store.put(KEY, b"old")
        for seconds in (0.001, 0.005, 0.05):  # while the upload is created, and while it goes on
            with anyio.move_on_after(seconds):
                await store.put(KEY, large)
        assert await store.get(KEY) == b"old"
        uploads = await made.list_multipart_uploads(Bucket=bucket)
        assert uploads.get("Uploads", []) == []


@pytest.mark.asyncio
async def test_many_are_put_listed_and_deleted(store, monkeypatch):
    monkeypatch.setattr(s3, "_MOST_DELETED", 50)
    keys = [output_key("flow", "run-1", "step", index) for index in range(120)]
    async with anyio.create_task_group() as group:
        for key in keys:
            group.start_soon(store.put, key, key.encode())
    assert await store.list("flow") == sorted(keys)
    assert await asyncio.gather(*map(store.get, keys[:50])) == [key.encode() for key in keys[:50]]
    assert await store.delete_prefix("flow") == 120
    assert await store.list("flow") == []


@pytest.mark.asyncio
async def test_a_closed_store_opens_again(store):
    await store.put(KEY, b"x")
    await store.close()
    assert await store.get(KEY) == b"x"


@pytest.mark.asyncio
async def test_a_missing_bucket_is_reported(endpoint):
    async with S3Store("not-there", endpoint=endpoint) as store:
        for asked in (store.put(KEY, b"x"), store.list("flow")):
            with pytest.raises(PayloadError, match=r"s3://not-there/.*create the bucket"):
                await asked


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_reported(monkeypatch):
    monkeypatch.setattr(s3, "_TRIES", 2)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = S3Store("bucket", endpoint=f"http://127.0.0.1:{port}")
    async with store:
        with pytest.raises(PayloadError, match="cannot store s3://bucket/"):
            await store.put(KEY, b"x")


@pytest.fixture
def nobody(endpoint, monkeypatch):
    """There are no credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nosuch")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nosuch")


@pytest.mark.asyncio
async def test_an_emulator_needs_no_credentials(bucket, endpoint, nobody):
    async with S3Store(bucket, endpoint=endpoint) as store:
        await store.put(KEY, b"x")
        assert await store.get(KEY) == b"x"


@pytest.mark.asyncio
async def test_missing_credentials_are_reported(nobody):
    async with S3Store("bucket-of-aws", region="us-east-1") as store:  # nothing is asked of it
        with pytest.raises(PayloadError, match="Unable to locate credentials"):
            await store.put(KEY, b"x")


@pytest.mark.parametrize("prefix", ["/a", "a/", "../a", "a//b"])
def test_a_prefix_that_is_none_is_refused(prefix):
    with pytest.raises(PayloadError, match="prefix"):
        S3Store("bucket", prefix)
