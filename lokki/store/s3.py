"""A payload store in an S3 bucket, by aiobotocore (``pip install lokki-engine[aws]``)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from math import inf
from time import time
from typing import TYPE_CHECKING, Any

import anyio
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError

from lokki.errors import PayloadError
from lokki.store.concurrency import for_each
from lokki.store.keys import check_key, zip_key

if TYPE_CHECKING:
    from lokki.store.protocol import Data, Keys

CONCURRENCY = 64
REFUSALS = (BotoCoreError, ClientError, OSError)
"""What a client raises when S3 refuses a request or cannot be reached."""
_BUCKET = "LOKKI_ARTIFACT_BUCKET"
_TRIES = 5
_PART = 16 * 1024 * 1024
"""Bytes of a part of a larger object; S3 takes up to 10,000 parts from 5 MiB on."""
_PARTS_AT_A_TIME = 4
_MOST_DELETED = 1_000  # in one request
_GONE = ("NoSuchKey", "404", "NotFound")
_REMEDIES = {
    "NoSuchBucket": "create the bucket, or name another one",
    "AccessDenied": "let these credentials read, write, list and delete in it",
    "403": "let these credentials read, write, list and delete in it",
    "ExpiredToken": "log in to AWS again",
    "InvalidAccessKeyId": "log in to AWS again",
    "SignatureDoesNotMatch": "log in to AWS again",
    "PermanentRedirect": "set aws.region to the region of the bucket",
}


class S3Store:
    """A ``PayloadStore`` and ``DeletingStore`` in ``bucket``.

    The default is the bucket that ``LOKKI_ARTIFACT_BUCKET`` names. Its keys are under ``prefix``
    (default: at the top).

    ``endpoint`` is the URL of an emulator (default: AWS), ``region`` that of the bucket (default:
    the AWS profile's), ``concurrency`` the most requests at a time. S3 answers some requests only
    when they are repeated: each is tried up to 5 times.

    An async context manager that closes its connections; they belong to the event loop of the first
    request. Raises PayloadError for an invalid prefix, or if there is no bucket.
    """

    def __init__(
        self,
        bucket: str | None = None,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        bucket = bucket or os.environ.get(_BUCKET)
        if not bucket:
            raise PayloadError(f"there is no bucket: S3Store('my-bucket'), or set {_BUCKET}")
        self._bucket = bucket
        self._prefix = f"{check_key(prefix, 'prefix')}/" if prefix else ""
        self._endpoint = endpoint
        self._region = region
        self._concurrency = concurrency
        self._opened = AsyncExitStack()
        self._opening: asyncio.Task[Any] | None = None
        self._permits = asyncio.Semaphore(concurrency)

    @property
    def place(self) -> tuple[str, str, str | None, str | None]:
        """Bucket, prefix, endpoint and region, for another process to open the same store."""
        return self._bucket, self._prefix.rstrip("/"), self._endpoint, self._region

    async def __aenter__(self) -> S3Store:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._opening = None
        await self._opened.aclose()

    async def put(self, key: str, data: Data) -> None:
        body = _joined(data)
        if len(body) <= _PART:
            await self._ask("store", key, "put_object", Body=body)
        else:
            await self._put_parts(key, body)

    async def create(self, key: str, data: Data) -> bool:
        """Put an object of at most 16 MiB unless there is one; whether it was put."""
        try:
            await self._ask("store", key, "put_object", Body=_joined(data), IfNoneMatch="*")
        except _Refused as refused:
            if refused.code == "PreconditionFailed":
                return False
            raise
        return True

    async def get(self, key: str) -> bytes:
        async with self._asking("read", key) as client:
            answer = await client.get_object(Bucket=self._bucket, Key=self._key(key))
            async with answer["Body"] as body:
                data: bytes = await body.read()
        return data

    async def get_part(self, key: str, start: int, end: int) -> bytes:
        """The bytes from ``start`` to before ``end`` of the object at ``key``."""
        where = {"Bucket": self._bucket, "Key": self._key(key)}
        async with self._asking("read", key) as client:
            answer = await client.get_object(**where, Range=f"bytes={start}-{end - 1}")
            async with answer["Body"] as body:
                data: bytes = await body.read()
        return data

    async def get_young(self, key: str, seconds: float) -> bytes | None:
        """What was put under ``key`` in the last ``seconds``; None if there is nothing.

        See https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html.
        """
        since = datetime.fromtimestamp(max(0, time() - seconds), UTC)
        where = {"Bucket": self._bucket, "Key": self._key(key)}
        try:
            async with self._asking("read", key) as client:
                answer = await client.get_object(**where, IfModifiedSince=since)
                async with answer["Body"] as body:
                    data: bytes = await body.read()
        except _Refused as refused:
            if refused.code in (*_GONE, "304"):
                return None
            raise
        return data

    async def copy(self, key: str, target: str) -> None:
        """Copy the object at ``key`` to ``target``, without reading it."""
        source = {"Bucket": self._bucket, "Key": self._key(key)}
        await self._ask("store", target, "copy_object", CopySource=source)

    async def exists(self, key: str) -> bool:
        try:
            await self._ask("look for", key, "head_object")
        except _Refused as refused:
            if refused.code in _GONE:
                return False
            raise
        return True

    async def delete(self, key: str) -> None:
        await self._ask("delete", key, "delete_object")

    async def delete_prefix(self, prefix: str) -> int:
        return await self.delete_all(await self.list(prefix), prefix)

    async def delete_all(self, keys: Keys, prefix: str) -> int:
        """Delete the objects at keys that begin with ``prefix``; return how many."""
        for first in range(0, len(keys), _MOST_DELETED):
            some = [{"Key": self._key(key)} for key in keys[first : first + _MOST_DELETED]]
            async with self._asking("delete", prefix) as client:
                answer = await client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": some, "Quiet": True}
                )
            for error in answer.get("Errors", ()):
                raise _Refused(self.url(prefix), "delete", error["Code"], error["Message"])
        return len(keys)

    async def list(self, prefix: str) -> Keys:
        return await self.list_older(prefix, inf)

    async def list_older(self, prefix: str, before: float) -> Keys:
        """The keys of what was put before a time, in seconds since 1970, or then."""
        found: Keys = []
        start = f"{self._key(prefix)}/"
        async with self._asking("list", prefix) as client:
            pages = client.get_paginator("list_objects_v2")
            async for page in pages.paginate(Bucket=self._bucket, Prefix=start):
                for each in page.get("Contents", ()):
                    if each["LastModified"].timestamp() <= before:
                        found.append(each["Key"].removeprefix(self._prefix))
        return sorted(found)

    def url(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._key(key)}"

    async def upload_lambda_zip(self, flow_name: str, zip_data: bytes) -> str:
        key = zip_key(flow_name)
        await self.put(key, zip_data)
        return self.url(key)

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    # ---- requests --------------------------------------------------------------------------------

    async def _ask(self, what: str, key: str, operation: str, **more: Any) -> Any:
        async with self._asking(what, key) as client:
            return await getattr(client, operation)(Bucket=self._bucket, Key=self._key(key), **more)

    @asynccontextmanager
    async def _asking(self, what: str, key: str) -> AsyncIterator[Any]:
        """A permit for a request and the client for it; errors are PayloadErrors."""
        url = self.url(key)
        try:
            async with self._permits:
                yield await self._client()
        except ClientError as error:
            refusal = error.response["Error"]
            raise _Refused(url, what, refusal["Code"], refusal.get("Message", "")) from error
        except (BotoCoreError, OSError) as error:
            raise PayloadError(f"cannot {what} {url}: {error}; nothing recorded is lost") from error

    async def _client(self) -> Any:
        """The client, opened once, however many ask for it."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> Any:
        made = await client_of(self._endpoint, self._region, self._concurrency)
        return await self._opened.enter_async_context(made)

    async def _put_parts(self, key: str, body: bytes) -> None:
        """Put a large object in parts; a failed put leaves nothing."""
        which: dict[str, str] = {}
        with anyio.CancelScope(shield=True):  # otherwise, nobody knows what to abort
            upload = await self._ask("store", key, "create_multipart_upload")
            which["UploadId"] = upload["UploadId"]
        try:
            done = await self._sent(key, body, which)
            parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(done.items())]
            await self._ask(
                "store",
                key,
                "complete_multipart_upload",
                MultipartUpload={"Parts": parts},
                **which,
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._ask("store", key, "abort_multipart_upload", **which)
            raise

    async def _sent(self, key: str, body: bytes, which: dict[str, str]) -> dict[int, str]:
        """The parts of an upload by number, sent some at a time."""
        done: dict[int, str] = {}

        async def send(part: tuple[int, bytes]) -> None:
            number, body = part
            answer = await self._ask(
                "store", key, "upload_part", PartNumber=number, Body=body, **which
            )
            done[number] = answer["ETag"]

        await for_each(_parts(body), send, _PARTS_AT_A_TIME)
        return done


async def client_of(
    endpoint: str | None, region: str | None, concurrency: int = CONCURRENCY
) -> AbstractAsyncContextManager[Any]:
    """A client of S3, to be opened, which repeats requests that S3 answers only then."""
    config = AioConfig(
        max_pool_connections=concurrency,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        connect_timeout=10,
        read_timeout=120,
    )
    session = get_session()
    made: AbstractAsyncContextManager[Any] = session.create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        config=config,
        **await emulators_credentials(session, endpoint),
    )
    return made


async def emulators_credentials(session: AioSession, endpoint: str | None) -> dict[str, str]:
    """Credentials for an emulator if there are none: it needs some, of any value."""
    if endpoint is None or await session.get_credentials() is not None:
        return {}
    return {"aws_access_key_id": "emulator", "aws_secret_access_key": "emulator"}


class _Refused(PayloadError):
    """The error for a request that S3 refused."""

    def __init__(self, url: str, what: str, code: str, message: str) -> None:
        if what == "read" and code in _GONE:
            text = f"no payload is stored under {url}"
        else:
            remedy = _REMEDIES.get(code, "fix that and resume")
            text = f"cannot {what} {url}: {code}: {message}; {remedy}; nothing recorded is lost"
        super().__init__(text)
        self.code = code


def _joined(data: Data) -> bytes:
    return data if isinstance(data, bytes) else b"".join(data)


def _parts(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of a large object, numbered from 1."""
    view = memoryview(body)
    for number, first in enumerate(range(0, len(body), _PART), 1):
        yield number, bytes(view[first : first + _PART])
